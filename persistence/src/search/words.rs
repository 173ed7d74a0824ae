//! Splits a text in any language into words, and a query into words that must occur. Words are compared in their folded
//! form (`fold.rs`). In scripts without spaces each letter is a word, and a query matches adjacent letters.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

use super::fold::{clusters, is_written_without_spaces, push_folded};

/// Number of significant characters of a word. Longer words are compared by these first characters only.
const MAX_WORD_CHARS: usize = 64;
/// Maximum number of terms of a query. Further terms are ignored. Below 32, because a set of terms is a `u32`.
const MAX_TERMS: usize = 20;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The form in which words are compared: only folded letters, digits and their marks.
    pub folded: String,
    /// The byte range of the word in the text.
    pub range: Range<usize>,
    /// Whether this word directly follows the previous word, without a character in between in the folded text.
    pub is_adjacent: bool,
}

/// The words of a text, in their order. Splits the folded text, because one character may fold to several words, and
/// several characters to one letter.
#[must_use]
pub fn split_words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    // Whether the next letter directly follows the last word.
    let mut open = false;
    let mut folded = String::new();
    for range in clusters(text) {
        folded.clear();
        push_folded(&mut folded, &text[range.clone()]);
        let is_apart = has_words_of_its_own(&folded);
        open &= !is_apart;
        for c in folded.chars() {
            if !c.is_alphanumeric() && !is_mark(c) {
                open = false;
                continue;
            }
            match words.last_mut() {
                Some(word) if open && continues_word(&word.folded, c) => {
                    word.range.end = range.end;
                    if word.folded.chars().count() < MAX_WORD_CHARS {
                        word.folded.push(c);
                    }
                }
                _ if is_mark(c) => continue,
                _ => words.push(Word { folded: c.to_string(), range: range.clone(), is_adjacent: open }),
            }
            open = true;
        }
        open &= !is_apart;
    }
    words
}

/// Whether a folded cluster is separate from its neighbours, because it has several words: ½ is `1⁄2`, ㋀ is `1月`.
/// Without this rule the query ½ would not find 2½.
fn has_words_of_its_own(cluster: &str) -> bool {
    let mut letters = cluster.chars().filter(|c| !is_mark(*c));
    let Some(first) = letters.next() else { return false };
    let alone = is_written_without_spaces(first);
    !first.is_alphanumeric() || letters.any(|c| !c.is_alphanumeric() || is_written_without_spaces(c) != alone)
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && is_combining_mark(c)
}

/// Whether `c` is a part of the folded word that it directly follows.
fn continues_word(word: &str, c: char) -> bool {
    is_mark(c) || !is_written_without_spaces(c) && !word.starts_with(is_written_without_spaces)
}

/// The words of a text as the index keeps them: each once, in alphabetical order. One allocation holds the words,
/// another their ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DistinctWords {
    folded: String,
    words: Vec<Range<u32>>,
}

impl DistinctWords {
    /// Collects the distinct words of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut distinct = Self { folded: String::with_capacity(text.len()), words: Vec::new() };
        if text.is_ascii() {
            // The folded form of ASCII is its lower case.
            for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
                distinct.push(word.get(..MAX_WORD_CHARS).unwrap_or(word));
            }
            distinct.folded.make_ascii_lowercase();
        } else {
            split_words(text).iter().for_each(|word| distinct.push(&word.folded));
        }
        let Self { folded, words } = &mut distinct;
        words.sort_unstable_by_key(|word| word_at(folded, word));
        words.dedup_by_key(|word| word_at(folded, word));
        distinct
    }

    fn push(&mut self, word: &str) {
        // The text is shorter than 4 GB, because messages are limited.
        let end_of = |folded: &String| u32::try_from(folded.len()).unwrap_or(u32::MAX);
        let start = end_of(&self.folded);
        self.folded.push_str(word);
        self.words.push(start..end_of(&self.folded));
    }

    /// Whether the text has no word. No query finds such a text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words in their folded form, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| word_at(&self.folded, word))
    }
}

fn word_at<'a>(folded: &'a str, word: &Range<u32>) -> &'a str {
    folded.get(word.start as usize..word.end as usize).unwrap_or_default()
}

/// A parsed query. A text matches if every term occurs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Each term is one word, or several adjacent letters of a script without spaces.
    terms: Vec<Vec<String>>,
    /// Whether the last word may be incomplete, because the query ends with it.
    open: bool,
}

impl Query {
    /// Parses a query; None if the text contains no word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words = split_words(text);
        let open = words.last()?.range.end == text.len();
        let mut terms: Vec<Vec<String>> = Vec::new();
        for word in words {
            if word.is_adjacent
                && let Some(term) = terms.last_mut()
            {
                term.push(word.folded);
            } else if terms.len() == MAX_TERMS {
                return Some(Self { terms, open: false });
            } else {
                terms.push(vec![word.folded]);
            }
        }
        Some(Self { terms, open })
    }

    /// The words that a text must contain; the last one may be incomplete.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().flatten().map(String::as_str)
    }

    /// The terms that occur in a text, as a set of bits. The text contains all terms if they are
    /// [`Query::all_terms`].
    #[must_use]
    pub fn terms_in(&self, text: &str) -> u32 {
        let words = split_words(text);
        let occurs = |index: &usize| self.ranges_of_term(*index, &words).next().is_some();
        (0..self.terms.len()).filter(occurs).fold(0, |terms, index| terms | (1 << index))
    }

    /// All terms of the query, as a set of bits.
    #[must_use]
    pub fn all_terms(&self) -> u32 {
        (1 << self.terms.len()) - 1
    }

    /// The byte ranges at which a term occurs in a text, ascending. `words` are the words of the text.
    fn ranges_of_term(&self, index: usize, words: &[Word]) -> impl Iterator<Item = Range<usize>> {
        let (term, open) = (&self.terms[index], self.open && index + 1 == self.terms.len());
        (0..words.len()).filter_map(move |from| match_at_start(term, open, words.get(from..)?))
    }

    /// The byte ranges of the terms in a text, ascending and without overlap; None if a term does not occur.
    #[must_use]
    pub fn hits(&self, text: &str) -> Option<Vec<Range<usize>>> {
        let words = split_words(text);
        let mut hits = Vec::new();
        for index in 0..self.terms.len() {
            let before = hits.len();
            hits.extend(self.ranges_of_term(index, &words));
            if hits.len() == before {
                return None;
            }
        }
        hits.sort_unstable_by_key(|hit| (hit.start, hit.end));
        hits.dedup_by(|next, hit| {
            let overlaps = next.start < hit.end;
            if overlaps {
                hit.end = hit.end.max(next.end);
            }
            overlaps
        });
        Some(hits)
    }
}

/// The byte range of the term in the text, if `words` (the text from some word on) begins with the term. If `open`, the
/// last word of the term may be incomplete.
fn match_at_start(term: &[String], open: bool, words: &[Word]) -> Option<Range<usize>> {
    let found = words.get(..term.len())?;
    for (index, (wanted, word)) in term.iter().zip(found).enumerate() {
        let same = if open && index + 1 == term.len() {
            word.folded.starts_with(wanted.as_str())
        } else {
            word.folded == *wanted
        };
        if !same || index > 0 && !word.is_adjacent {
            return None;
        }
    }
    Some(found.first()?.range.start..found.last()?.range.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::search::fold::SAME;

    fn folded(text: &str) -> Vec<String> {
        split_words(text).into_iter().map(|word| word.folded).collect()
    }

    fn finds(query: &str, text: &str) -> bool {
        Query::parse(query).is_some_and(|query| query.hits(text).is_some())
    }

    #[test]
    fn case_accents_and_compatibility_forms_are_ignored() {
        assert_eq!(folded("Zoë's CAFÉ, ﬁne 2½ ＡＢ"), ["zoe", "s", "cafe", "fine", "2", "1", "2", "ab"]);
        for (one, other) in SAME {
            assert!(finds(one, other) && finds(other, one), "{one} and {other}");
        }
        assert!(
            !finds("zo ", "zoë") && finds("zo", "zoë"),
            "only the last word may be incomplete, and only at the end"
        );
        assert!(!finds("zo s", "zoë's"));
    }

    #[test]
    fn scripts_without_spaces_match_adjacent_letters() {
        let text = "今日は東京で会議があります";
        assert!(finds("東京", text) && finds("会議が", text));
        assert!(!finds("京東", text) && !finds("東議", text));
        assert!(finds("東 議", text), "separate terms need not be adjacent");
        assert!(finds("ที่", "อยู่ที่นี่"));
        assert!(finds("tokyo", "東京tokyo東京"));
        assert!(finds("〇", "二〇〇一年") && finds("々木", "佐々木さん") && finds("株式", "㍿"));
        assert_eq!(folded("x㋀y"), ["x", "1", "月", "y"]);
        assert!(!finds("か", "が"), "a voiced letter is another letter");
    }

    #[test]
    fn ignored_characters_are_part_of_their_word() {
        let words = split_words("عـربـ، a\u{200d}\u{ad}b\u{301}");
        let ranges: Vec<_> = words.iter().map(|word| word.range.clone()).collect();
        assert_eq!(ranges, [0..10, 13..22]);
        assert!(finds("محمـ", "محمد"), "a query that ends with tatweel is the beginning of a word");
    }

    #[test]
    fn marks_that_distinguish_letters_are_kept() {
        assert!(!finds("की ", "का"));
    }

    #[test]
    fn text_without_letters_is_no_query() {
        assert_eq!(Query::parse("!? \u{301} 🙂 '\\:*&|<->"), None);
    }

    #[test]
    fn long_query_is_cut_to_its_first_words() {
        let text = (0..50).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
        let query = Query::parse(&text).unwrap();
        assert_eq!(query.words().count(), MAX_TERMS);
        assert!(query.hits(&text).is_some());
        assert_eq!(split_words(&"x".repeat(1000))[0].folded.len(), MAX_WORD_CHARS);
    }

    #[test]
    fn overlapping_hits_are_joined() {
        let hits = |query: &str, text: &str| Query::parse(query).unwrap().hits(text);
        assert_eq!(hits("b a", "a b, Ab"), Some(vec![0..1, 2..3, 5..7]));
        assert_eq!(hits("ああ い", "あああ い"), Some(vec![0..9, 10..13]));
        assert_eq!(hits("a x", "a b"), None);
    }

    #[test]
    fn terms_in_sets_one_bit_per_term_of_text() {
        let query = Query::parse("tea 東京 mil").unwrap();
        let (tea, tokyo, milk) = (0b001, 0b010, 0b100);
        for (text, terms) in [
            ("Tea, milk", tea | milk),
            ("東京", tokyo),
            ("東 京", 0),
            ("teas", 0),
            ("tea 東京 mill", tea | tokyo | milk),
        ] {
            assert_eq!(query.terms_in(text), terms, "{text}");
            assert_eq!(query.terms_in(text) == query.all_terms(), query.hits(text).is_some(), "{text}");
        }
        let longest = Query::parse(&"word ".repeat(MAX_TERMS)).unwrap();
        assert_eq!(longest.terms_in("word"), longest.all_terms());
    }

    proptest! {
        #[test]
        fn index_words_are_distinct_and_sorted(text in "[a-cA-C .é0-9]{0,40}|[a-z]{60,70}") {
            let mut all = folded(&text);
            all.sort_unstable();
            all.dedup();
            let kept = DistinctWords::from_text(&text);
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), all);
        }

        #[test]
        fn text_is_found_by_each_of_its_words(text in "\\PC{0,40}") {
            for word in split_words(&text) {
                let query = Query::parse(&text[word.range.clone()]);
                prop_assert!(query.is_some_and(|query| query.hits(&text).is_some()), "{word:?}");
            }
        }
    }
}
