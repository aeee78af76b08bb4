//! Structured CloudEvents JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flowd_codec::fuzz::cloudevent_decoder(input));
