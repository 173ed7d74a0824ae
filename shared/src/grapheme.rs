//! Finds where a text may be cut: between two grapheme clusters, the characters that users see. Pure. It follows the
//! rules of UAX #29 for marks, emoji, flags, Hangul and the conjuncts of Indic scripts, and keeps no table of its own.

use unicode_normalization::char::is_combining_mark;

const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Longest cluster that is kept whole, in bytes. Families of emoji have 50.
const MAX_CLUSTER_BYTES: usize = 128;

/// The last position up to `limit` (in bytes) that lies between two grapheme clusters. If the cluster there is longer
/// than 128 bytes, or than the limit, the last position between two code points.
#[must_use]
pub fn floor_boundary(text: &str, limit: usize) -> usize {
    let between_code_points = (0..=limit.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    let limit = between_code_points.unwrap_or_default();
    let mut at = limit;
    while at > 0 && limit - at <= MAX_CLUSTER_BYTES && !is_boundary(text, at) {
        at -= text[..at].chars().next_back().map_or(at, char::len_utf8);
    }
    if at == 0 || limit - at > MAX_CLUSTER_BYTES { limit } else { at }
}

/// Whether a position between two code points is also one between two grapheme clusters.
fn is_boundary(text: &str, at: usize) -> bool {
    let (before, after) = text.split_at(at);
    let (Some(last), Some(next)) = (before.chars().next_back(), after.chars().next()) else { return true };
    let is_continued = match next {
        '\n' => last == '\r',
        // Joiners, skin tones and tag characters (flags of regions) extend the character before them.
        ZERO_WIDTH_JOINER | '\u{200c}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}' => true,
        _ if is_regional_indicator(next) => {
            // Regional indicators form flags in pairs, so with an odd number before this position it splits a flag.
            let indicators = before.chars().rev().take_while(|c| is_regional_indicator(*c)).count();
            indicators % 2 == 1
        }
        _ if is_hangul(next) => is_hangul(last),
        _ => is_combining_mark(next) || last == ZERO_WIDTH_JOINER || is_virama(last),
    };
    !is_continued
}

const fn is_regional_indicator(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// The parts of Hangul syllables. Syllables of one code point are whole.
const fn is_hangul(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}')
}

/// The signs that join two consonants of an Indic script.
const fn is_virama(c: char) -> bool {
    matches!(
        c,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_is_never_within_a_visible_character() {
        let clusters = [
            "a",
            "e\u{301}",
            "👩🏿‍❤️‍💋‍👨🏽",
            "🇩🇪",
            "🇫🇷",
            "👍🏽",
            "\r\n",
            "क्ष",
            "\u{1112}\u{1161}\u{11ab}",
            "한",
            "葛󠄀",
            "ש\u{5b8}",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            " ",
        ];
        let text = clusters.concat();
        let mut ends = vec![0];
        for cluster in clusters {
            ends.push(ends[ends.len() - 1] + cluster.len());
        }
        for limit in clusters[0].len()..=text.len() + 1 {
            let expected = ends.iter().copied().filter(|end| *end <= limit).max();
            assert_eq!(Some(floor_boundary(&text, limit)), expected, "{limit}");
        }
    }

    #[test]
    fn cluster_longer_than_limit_is_cut_between_code_points() {
        let text = format!("e{}", "\u{301}".repeat(100));
        assert_eq!(floor_boundary(&text, 10), 9);
        assert_eq!(floor_boundary("😀", 3), 0);
        assert_eq!(floor_boundary("", 3), 0);
    }
}
