//! What search makes of text: the words that are indexed and asked for, and the snippet that shows them.
//! Pure. Promises that index, question and snippet take a text apart in the same way.

pub mod snippet;
pub mod words;

/// Seqs of a room that share one key in the index: a common word is looked up in so many messages at a time.
pub const SLICE_SEQS: i64 = 512;

/// The slice that a seq belongs to.
#[must_use]
pub fn slice_of(seq: i64) -> i64 {
    seq / SLICE_SEQS
}
