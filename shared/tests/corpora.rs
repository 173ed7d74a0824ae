//! Runs the corpora of this crate's fuzz targets as tests (docs/SECURITY.md).

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "../../fuzz/entries/client_json.rs"]
mod client_json;
#[path = "../../fuzz/entries/corpus.rs"]
mod corpus;
#[path = "../../fuzz/entries/jwt.rs"]
mod jwt;

#[test]
fn client_frames_of_the_corpus_pass_their_fuzz_target() {
    corpus::run_all("client_json", client_json::run);
}

#[test]
fn tokens_of_the_corpus_pass_their_fuzz_target() {
    corpus::run_all("jwt", jwt::run);
}
