//! Inputs of this crate's fuzz targets, kept as tests (docs/SECURITY.md).

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "../../fuzz/entries/corpus.rs"]
mod corpus;
#[path = "../../fuzz/entries/cursor.rs"]
mod cursor;

use tidings_persistence::query::cursor as lists;

#[test]
fn every_corpus_cursor_passes_its_fuzz_target() {
    corpus::run_all("cursor", cursor::run);
}
