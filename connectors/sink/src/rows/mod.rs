//! What sinks of rows have in common, whatever the SQL: where rows go.
//!
//! A sink of rows is a [`Store`](crate::store::Store) with a dialect, a connection and types of its own.

pub mod mapping;
