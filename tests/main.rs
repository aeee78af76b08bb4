//! The integration tests: the real `flowd` program against real servers (`scripts/servers.sh`), each test a promise.
//!
//! One binary. [`harness`] starts servers, databases' sessions and `flowd` processes and ends them with the test;
//! [`suite`] holds the promises, a module a subject. Every test has its own server and directory, so they run in
//! any order and side by side. A random test prints its seed; `FLOWD_TEST_SEED` replays it.

// A test says what went wrong by panicking, and the harness is written for tests alone.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, unreachable_pub)]

mod harness;
mod suite;
