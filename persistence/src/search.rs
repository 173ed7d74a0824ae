//! Text processing for search: the words that are indexed and queried, and the snippets of results. Pure.
//! The index, queries and snippets split a text into the same words.

pub mod snippet;
pub mod words;

/// Number of consecutive seqs of a room in one slice. The words of a slice share one key in the index, so one look-up
/// of a word covers the whole slice.
pub const SLICE_SEQS: i64 = 512;

/// The number of the slice that a seq belongs to.
#[must_use]
pub fn slice_of(seq: i64) -> i64 {
    seq / SLICE_SEQS
}

/// The prefix of the words of a slice in the index, made from the slice's key.
#[must_use]
pub fn slice_prefix(key: i64) -> String {
    format!("{key:x}")
}
