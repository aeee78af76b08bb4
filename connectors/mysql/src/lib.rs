//! The mysql-cdc source.
