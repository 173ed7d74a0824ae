//! libFuzzer's way into `entries/frame.rs`.

#![no_main]

#[path = "../entries/frame.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::run(data));
