//! What stores of rows have in common, whatever the SQL: what an event does to a table of the target.
//!
//! From the bottom up: [`mapping`] says which table; [`table`] is what is known of it, [`layout`] the shape of a row,
//! [`tables`] all of them; [`change`] says what an event does and [`value`] what a value is. [`dialect`] is what a database brings besides its
//! [`Store`](crate::store::Store): its types, and the statements that a shape becomes.

pub mod change;
pub mod dialect;
pub mod layout;
pub mod mapping;
pub mod table;
pub mod tables;
pub mod value;

#[cfg(test)]
mod testing;
