//! EventMesh TCP frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flowd_codec::fuzz::frame_decoder(input));
