//! What the fuzz targets of this crate were fed, kept as tests (docs/SECURITY.md).

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "../../fuzz/entries/corpus.rs"]
mod corpus;
#[path = "../../fuzz/entries/cursor.rs"]
mod cursor;

use tidings_persistence::query::cursor as lists;

#[test]
fn every_cursor_of_the_corpus_holds_what_its_target_asserts() {
    corpus::run_all("cursor", cursor::run);
}
