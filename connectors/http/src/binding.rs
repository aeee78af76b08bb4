//! The HTTP protocol binding of CloudEvents 1.0: how an event stands in the headers and the body of a message.
//!
//! No I/O and no answers to anybody: [`read`] finds events in a message, [`write`] makes a message of structured
//! JSON. Invariant: what one writes the other reads as the same event.

pub(crate) mod header;
pub(crate) mod read;
pub(crate) mod write;

#[cfg(test)]
mod tests;
