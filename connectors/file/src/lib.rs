//! Files as a source: each line an event, as lines are appended, across rotation and restarts.
//!
//! In the direction of the data: `scan` finds the files, a `tail` reads one of them from its `place`, `line` makes
//! events of lines, and [`source`] goes round among the files and keeps their places as the position.
//!
//! Kept: a file is known by what it is (device, inode, time of birth) and not by its name, so a rename loses nothing and
//! repeats nothing; a line has the same id whenever it is read, and no two lines have one.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod key;
mod line;
mod place;
mod scan;
mod settings;
pub mod source;
mod tail;
