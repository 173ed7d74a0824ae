//! Cuts a snippet out of a text: the part around the first hit, in pieces of plain text, each a hit or not.

use std::ops::Range;

use serde::Serialize;
use tidings_shared::grapheme::floor_boundary;
use utoipa::ToSchema;

/// Maximum number of characters in a snippet, without the ellipses. A longer text is cut.
const MAX_SNIPPET_CHARS: usize = 240;
/// Number of characters to show before the first hit. More are shown if few characters follow the hit.
const CHARS_BEFORE_HIT: usize = 60;
/// Replaces the text that is left out.
const ELLIPSIS: &str = "…";

/// A piece of a snippet. All pieces together are the snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Piece {
    /// Plain text, exactly as the sender wrote it.
    pub text: String,
    /// Whether this piece matches the query.
    pub hit: bool,
}

/// Cuts a text around its first hit. `hits` are byte ranges in ascending order that do not overlap.
#[must_use]
pub fn snippet(text: &str, hits: &[Range<usize>]) -> Vec<Piece> {
    let shown = shown_range(text, hits.first().map_or(0, |hit| hit.start));
    let mut pieces = Pieces::default();
    if shown.start > 0 {
        pieces.add(ELLIPSIS, false);
    }
    let mut at = shown.start;
    for hit in hits {
        let (start, end) = (hit.start.clamp(at, shown.end), hit.end.clamp(at, shown.end));
        pieces.add(&text[at..start], false);
        pieces.add(&text[start..end], true);
        at = end;
    }
    pieces.add(&text[at..shown.end], false);
    if shown.end < text.len() {
        pieces.add(ELLIPSIS, false);
    }
    pieces.0
}

/// The byte range to show. It begins and ends between words if the text has a space there, else between grapheme
/// clusters.
fn shown_range(text: &str, first_hit: usize) -> Range<usize> {
    let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let chars = boundaries.len() - 1;
    if chars <= MAX_SNIPPET_CHARS {
        return 0..text.len();
    }
    let hit = boundaries.partition_point(|at| *at < first_hit);
    let from = hit.saturating_sub(CHARS_BEFORE_HIT).min(chars - MAX_SNIPPET_CHARS);
    let (start, end) = (boundaries[from], boundaries[from + MAX_SNIPPET_CHARS]);
    let after_space =
        |part: &str| part.char_indices().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8());
    let start = match start {
        0 => 0,
        _ => {
            let after_space = text.get(start..first_hit).and_then(after_space);
            after_space.map_or_else(|| floor_boundary(text, start), |space| start + space)
        }
    };
    let end = match end {
        end if end == text.len() => end,
        // The search for a space starts at the first hit, so that the snippet never ends before it.
        end => text
            .get(first_hit..end)
            .and_then(|part| part.rfind(char::is_whitespace))
            .map(|space| first_hit + space)
            .or_else(|| Some(floor_boundary(text, end)).filter(|boundary| *boundary > first_hit))
            .unwrap_or(end),
    };
    start..end
}

/// Collects pieces. Joins adjacent pieces that are both hits or both not, and skips empty ones.
#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn add(&mut self, text: &str, hit: bool) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(last) if last.hit == hit => last.text.push_str(text),
            _ => self.0.push(Piece { text: text.to_owned(), hit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::search::words::Query;

    fn shown(query: &str, text: &str) -> Vec<(String, bool)> {
        let hits = Query::parse(query).unwrap().hits(text).unwrap();
        snippet(text, &hits).into_iter().map(|piece| (piece.text, piece.hit)).collect()
    }

    #[test]
    fn short_text_is_shown_whole_and_unchanged() {
        assert_eq!(
            shown("bold", "<b>Bold</b> & \"bolder\""),
            [("<b>", false), ("Bold", true), ("</b> & \"", false), ("bolder", true), ("\"", false)]
                .map(|(text, hit)| (text.to_owned(), hit))
        );
    }

    #[test]
    fn long_text_is_cut_between_words_around_first_hit() {
        let text = format!("{}needle {}", "lorem ipsum ".repeat(50), "dolor sit ".repeat(50));
        let pieces = shown("needle", &text);
        assert_eq!(pieces[1], ("needle".to_owned(), true));
        assert!(pieces[0].0.starts_with("…lorem ") || pieces[0].0.starts_with("…ipsum "), "{}", pieces[0].0);
        assert!(pieces[2].0.ends_with("dolor…") || pieces[2].0.ends_with("sit…"), "{}", pieces[2].0);
        let length: usize = pieces.iter().map(|(text, _)| text.chars().count()).sum();
        assert!((150..=MAX_SNIPPET_CHARS + 2).contains(&length), "{length}");
    }

    #[test]
    fn text_without_spaces_is_cut_between_visible_characters() {
        let thumb = "👍🏽";
        let pieces = shown("x", &format!("{}·x{}", thumb.repeat(200), thumb.repeat(200)));
        let text: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(text.replace(thumb, ""), "…·x…", "{text}");
    }

    #[test]
    fn word_longer_than_a_snippet_is_cut() {
        let pieces = shown("xxx", &"x".repeat(2000));
        assert_eq!(pieces, [("x".repeat(MAX_SNIPPET_CHARS), true), ("…".to_owned(), false)]);
    }

    proptest! {
        #[test]
        fn snippet_is_a_part_of_its_text_with_a_hit(text in "(\\PC|[a-c ]){0,600}", query in "[a-c]") {
            if let Some(hits) = Query::parse(&query).unwrap().hits(&text) {
                let pieces = snippet(&text, &hits);
                prop_assert!(pieces.iter().any(|piece| piece.hit));
                prop_assert!(pieces.iter().all(|piece| !piece.text.is_empty()));
                let all: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
                let cut = all.strip_prefix(ELLIPSIS).unwrap_or(&all);
                let cut = cut.strip_suffix(ELLIPSIS).unwrap_or(cut);
                prop_assert!(text.contains(cut) || text.contains(&all));
            }
        }
    }
}
