//! libFuzzer's way into `entries/client_json.rs`.

#![no_main]

#[path = "../entries/client_json.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::run(data));
