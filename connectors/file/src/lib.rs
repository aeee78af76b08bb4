//! Files as a source: the lines of files, as they are appended, across rotation.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
