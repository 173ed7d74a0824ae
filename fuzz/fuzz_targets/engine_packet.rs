//! The libFuzzer target of `entries/engine_packet.rs`.

#![no_main]

#[path = "../entries/engine_packet.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::run(data));
