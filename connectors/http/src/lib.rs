//! CloudEvents over HTTP: `source` is a server that takes them, `sink` a client that delivers them.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
