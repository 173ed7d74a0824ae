//! The signature of a block of messages: a Bloom filter of its words. Pure.
//! PostgreSQL stores signatures and tests their bits, so this format must not change without another size:
//!
//! - An *item* is the beginning of a folded word: its first 1, 2, 3, 4, 6, 8 and 12 characters, up to its length.
//! - The hash of an item is XXH3 (64 bits, seed 0) of its UTF-8 bytes. With `h` for the hash and `step` for the hash
//!   rotated by 32 bits, with the lowest bit set, the item has the numbers `(h + i * step) mod 2^64 / 2` for i = 0 to
//!   7.
//! - A signature of `n` bytes contains an item if it has the bits `number mod 8n` of all its numbers. Bit 0 is the
//!   lowest bit of the first byte, as in `get_bit` of PostgreSQL.
//! - The size of a signature, modulo 8, tells how its words were folded. It is 4 for the folded form of `fold.rs`, and
//!   was 0 before. A signature of an earlier form is *outdated*: a search cannot test it, and the indexer
//!   rebuilds it.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::words::{DistinctWords, Query};

/// Lengths of the prefixes that a signature holds of each word. It holds prefixes, because the last word of a query may
/// be incomplete. Lengths up to 6 cover most English words. Length 1 is for scripts without spaces, in which each
/// character is indexed as a word.
const PREFIX_CHARS: [usize; 7] = [1, 2, 3, 4, 6, 8, 12];
/// Bits of an item, and bytes of a signature for each of its items. Of the blocks without a word, 0.06 % seem to
/// contain the word. With 12 bits per item 0.4 % would, and would cost more in total, because reading the texts of a
/// block costs over a hundred times as much as testing the block.
const BITS_PER_ITEM: u64 = 8;
const BYTES_PER_ITEM: usize = 2;
/// The size of a signature is `MIN_SIGNATURE_BYTES` plus a multiple of `SIZE_STEP_BYTES`.
const SIZE_STEP_BYTES: usize = 8;
const MIN_SIGNATURE_BYTES: usize = 4;
/// The condition of SQL that a signature in the column `signature` is outdated. The index `search_blocks_outdated` has
/// the same condition.
pub const IS_OUTDATED_SQL: &str = "octet_length(signature) % 8 = 0";
/// Size of the longest signature, in bytes; a page of PostgreSQL holds two. If a block has more words than fit, its
/// signature has more bits set, and more often seems to contain a word that the block does not contain.
const MAX_SIGNATURE_BYTES: usize = 3836;
/// Maximum number of items of a query that are tested; the longest are tested. This bounds the cost of a test.
const MAX_QUERY_ITEMS: usize = 16;

/// Collects the words of a block's messages.
#[derive(Debug, Default)]
pub struct SignatureBuilder {
    hashes: Vec<u64>,
}

impl SignatureBuilder {
    pub fn add(&mut self, words: &DistinctWords) {
        for word in words.iter() {
            self.hashes.extend(prefixes(word).map(|prefix| xxh3_64(prefix.as_bytes())));
        }
    }

    /// The signature of all added words.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let bytes = (self.hashes.len() * BYTES_PER_ITEM).saturating_sub(MIN_SIGNATURE_BYTES);
        let size = MIN_SIGNATURE_BYTES + bytes.next_multiple_of(SIZE_STEP_BYTES);
        let mut signature = vec![0; size.min(MAX_SIGNATURE_BYTES)];
        let bits = signature.len() as u64 * 8;
        for number in self.hashes.into_iter().flat_map(bit_numbers) {
            let bit = number % bits;
            signature[(bit / 8) as usize] |= 1 << (bit % 8);
        }
        signature
    }
}

/// The numbers of the query's items. If a block contains all words of the query, its signature has the bits of these
/// numbers.
#[must_use]
pub fn query_numbers(query: &Query) -> Vec<i64> {
    let longest: BTreeSet<&str> = query.words().filter_map(|word| prefixes(word).last()).collect();
    let mut items: Vec<&str> = longest.into_iter().collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.len()));
    items.truncate(MAX_QUERY_ITEMS);
    let hashes = items.into_iter().map(|item| xxh3_64(item.as_bytes()));
    // Each number is below 2^63.
    hashes.flat_map(bit_numbers).map(|number| number as i64).collect()
}

/// The items of a word, ascending by length.
fn prefixes(word: &str) -> impl Iterator<Item = &str> {
    let mut ends = word.char_indices().map(|(start, c)| start + c.len_utf8());
    let mut chars = 0;
    PREFIX_CHARS.into_iter().map_while(move |length| {
        let end = ends.nth(length - chars - 1)?;
        chars = length;
        word.get(..end)
    })
}

fn bit_numbers(hash: u64) -> impl Iterator<Item = u64> {
    let step = hash.rotate_left(32) | 1;
    (0..BITS_PER_ITEM).map(move |i| hash.wrapping_add(i.wrapping_mul(step)) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signature<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let mut builder = SignatureBuilder::default();
        texts.into_iter().for_each(|text| builder.add(&DistinctWords::from_text(text)));
        builder.finish()
    }

    fn may_contain(signature: &[u8], query: &Query) -> bool {
        query_numbers(query).into_iter().all(|number| {
            let bit = number as u64 % (signature.len() as u64 * 8);
            signature[(bit / 8) as usize] & 1 << (bit % 8) != 0
        })
    }

    fn finds(signature: &[u8], query: &str) -> bool {
        may_contain(signature, &Query::parse(query).unwrap())
    }

    #[test]
    fn stored_format_does_not_change() {
        assert_eq!(signature(["Ab"]), [100, 201, 89, 50]);
    }

    #[test]
    fn items_are_beginnings_of_words() {
        let items = |word| prefixes(word).collect::<Vec<_>>();
        assert_eq!(items("tea"), ["t", "te", "tea"]);
        assert_eq!(items("Überraschungen"), ["Ü", "Üb", "Übe", "Über", "Überra", "Überrasc", "Überraschung"]);
        assert_eq!(items("茶"), ["茶"]);
    }

    #[test]
    fn signature_does_not_match_a_word_of_another_text() {
        let texts = ["zyxwv needle", "needles and pins"];
        assert!(finds(&signature(texts), "zyxwv") && finds(&signature(texts), "needle pi"));
        assert!(!finds(&signature([texts[1]]), "zyxwv"));
        assert_eq!(signature([""]), [0; MIN_SIGNATURE_BYTES]);
    }

    #[test]
    fn few_signatures_seem_to_contain_another_word() {
        for (words, per_mille) in [(10, 3), (300, 3), (1000, 120)] {
            let block =
                (0..words).map(|n| format!("{:x}", xxh3_64(&[n as u8, (n >> 8) as u8]))).collect::<Vec<_>>();
            let signature = signature(block.iter().map(String::as_str));
            let size = signature.len();
            assert!(size <= MAX_SIGNATURE_BYTES && size % SIZE_STEP_BYTES == MIN_SIGNATURE_BYTES);
            let wrong = (0..10_000).filter(|n| finds(&signature, &format!("q{n}zzzz"))).count();
            assert!(wrong <= per_mille * 10, "{words} words: {wrong} of 10,000");
        }
    }

    proptest! {
        #[test]
        fn signature_contains_each_query_that_hits(
            texts in proptest::collection::vec("[a-cA-C é今日0-9]{0,20}|\\PC{0,15}|[a-z]{1,70}", 1..6),
            queried in "[a-cA-C é今日]{1,6}|\\PC{1,5}",
        ) {
            let signature = signature(texts.iter().map(String::as_str));
            let beginnings = texts.iter().flat_map(|text| text.char_indices().map(|(end, _)| &text[..end]));
            for query in beginnings.chain([queried.as_str()]).filter_map(Query::parse) {
                let hit = texts.iter().any(|text| query.hits(text).is_some());
                prop_assert!(!hit || may_contain(&signature, &query), "{query:?}");
            }
        }
    }
}
