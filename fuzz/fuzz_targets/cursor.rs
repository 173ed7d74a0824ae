//! libFuzzer's way into `entries/cursor.rs`.

#![no_main]

#[path = "../entries/cursor.rs"]
mod entry;
// By itself, since all of persistence takes far longer to build than to fuzz.
#[allow(dead_code, reason = "made for persistence")]
#[path = "../../persistence/src/query/cursor.rs"]
mod lists;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::run(data));
