//! CloudEvents and EventMesh TCP: bytes in, bytes out.
//!
//! Everything here is pure: no socket, no clock, no thread, no log. What arrives from outside is read with typed
//! errors and never panics; what is written goes to the end of a caller's buffer.

#![forbid(unsafe_code)]

pub mod hex;
pub mod json;
pub mod time;
pub mod uri;

pub mod applied;
pub mod dead_letter;
pub mod event;
pub mod frame;
pub mod session;

pub mod sdk;

#[doc(hidden)]
pub mod fuzz;
