//! Binlog events without rows, and GTID sets.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flowd_binlog::fuzz::event(input));
