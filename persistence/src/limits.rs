//! Limits of the HTTP API that its parsers enforce and its OpenAPI document states.

/// Longest name of a room, in Unicode scalar values.
pub const MAX_NAME_CHARS: usize = 200;
/// Longest name of a user and longest address of a picture, in Unicode scalar values; the same limit as for tokens.
pub const MAX_PERSON_CHARS: usize = 512;
/// Entries of a page by default.
pub const DEFAULT_LIMIT: i64 = 50;
/// Most entries of a page; higher limits are reduced to it.
pub const MAX_LIMIT: i64 = 200;
/// Highest position that is exact in every JSON implementation (2^53 − 1); no room comes near it.
pub const MAX_SEQ: i64 = (1 << 53) - 1;
