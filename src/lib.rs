//! The parts of the `flowd` program, as a library for its tests and benchmarks.

pub mod config;
