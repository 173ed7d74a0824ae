//! Runs the fuzz targets of this crate over their stored corpora (docs/SECURITY.md).

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "../../fuzz/entries/corpus.rs"]
mod corpus;
#[path = "../../fuzz/entries/engine_packet.rs"]
mod engine_packet;
#[path = "../../fuzz/entries/frame.rs"]
mod frame;
#[path = "../../fuzz/entries/inflate.rs"]
mod inflate;
#[path = "../../fuzz/entries/socket_io_packet.rs"]
mod socket_io_packet;

#[test]
fn engine_packet_corpus_passes_its_fuzz_target() {
    corpus::run_all("engine_packet", engine_packet::run);
}

#[test]
fn frame_corpus_passes_its_fuzz_target() {
    corpus::run_all("frame", frame::run);
}

#[test]
fn inflate_corpus_passes_its_fuzz_target() {
    corpus::run_all("inflate", inflate::run);
}

#[test]
fn socket_io_packet_corpus_passes_its_fuzz_target() {
    corpus::run_all("socket_io_packet", socket_io_packet::run);
}
