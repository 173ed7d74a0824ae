//! What the fuzz targets of this crate were fed, kept as tests (docs/SECURITY.md).

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "../../fuzz/entries/client_json.rs"]
mod client_json;
#[path = "../../fuzz/entries/corpus.rs"]
mod corpus;
#[path = "../../fuzz/entries/jwt.rs"]
mod jwt;

#[test]
fn every_client_frame_of_the_corpus_holds_what_its_target_asserts() {
    corpus::run_all("client_json", client_json::run);
}

#[test]
fn every_token_of_the_corpus_holds_what_its_target_asserts() {
    corpus::run_all("jwt", jwt::run);
}
