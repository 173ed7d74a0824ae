//! The libFuzzer target of `entries/socket_io_packet.rs`.

#![no_main]

#[path = "../entries/socket_io_packet.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::run(data));
