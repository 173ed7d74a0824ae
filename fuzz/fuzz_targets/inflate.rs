//! libFuzzer's way into `entries/inflate.rs`.

#![no_main]

#[path = "../entries/inflate.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::run(data));
