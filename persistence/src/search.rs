//! Text processing for search: the words that are indexed and queried, and the snippet that shows them.
//! Pure. Index, query and snippet split a text in the same way.

pub mod snippet;
pub mod words;

/// Seqs of a room that share one key in the index: one look-up of a word covers this many messages.
pub const SLICE_SEQS: i64 = 512;

/// The slice that a seq belongs to.
#[must_use]
pub fn slice_of(seq: i64) -> i64 {
    seq / SLICE_SEQS
}

/// The key of a slice, as the prefix of its words in the index.
#[must_use]
pub fn slice_prefix(key: i64) -> String {
    format!("{key:x}")
}
