//! Rows of a result set in the binary protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flowd_binlog::fuzz::result_row(input));
