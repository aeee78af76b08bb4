//! TABLE_MAP and ROWS events.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flowd_binlog::fuzz::table_and_rows(input));
