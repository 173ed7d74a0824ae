//! What the fuzz targets of this crate were fed, kept as tests (docs/SECURITY.md).

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "../../fuzz/entries/corpus.rs"]
mod corpus;
#[path = "../../fuzz/entries/frame.rs"]
mod frame;
#[path = "../../fuzz/entries/inflate.rs"]
mod inflate;

#[test]
fn every_stream_of_frames_of_the_corpus_holds_what_its_target_asserts() {
    corpus::run_all("frame", frame::run);
}

#[test]
fn every_compressed_message_of_the_corpus_holds_what_its_target_asserts() {
    corpus::run_all("inflate", inflate::run);
}
