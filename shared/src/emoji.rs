//! The one form of an emoji. The same emoji may be written with and without variation selectors: 👍, 👍\u{fe0e} and
//! 👍\u{fe0f} look alike to users and are one reaction. Pure. A migration gave stored reactions this form;
//! `harness/fixtures/emoji.json` has the cases that both pass. The kit compares emoji without selectors
//! (`clients/ts/src/room/fold.ts`).

use std::borrow::Cow;

/// The variation selector that asks for the picture of a character that is text by default.
const EMOJI_STYLE: char = '\u{fe0f}';
const TEXT_STYLE: char = '\u{fe0e}';
/// The character that makes a keycap of a digit, `#` or `*`.
const KEYCAP: char = '\u{20e3}';

/// The characters that are emoji, and text unless [`EMOJI_STYLE`] follows: `Emoji` without `Emoji_Presentation` in
/// emoji-data.txt of Unicode 17, except digits, `#` and `*`. Later versions add none, because new emoji are pictures by
/// default.
#[rustfmt::skip]
const TEXT_BY_DEFAULT: &[(char, char)] = &[
    ('\u{a9}', '\u{a9}'), ('\u{ae}', '\u{ae}'), ('\u{203c}', '\u{203c}'), ('\u{2049}', '\u{2049}'),
    ('\u{2122}', '\u{2122}'), ('\u{2139}', '\u{2139}'), ('\u{2194}', '\u{2199}'), ('\u{21a9}', '\u{21aa}'),
    ('\u{2328}', '\u{2328}'), ('\u{23cf}', '\u{23cf}'), ('\u{23ed}', '\u{23ef}'), ('\u{23f1}', '\u{23f2}'),
    ('\u{23f8}', '\u{23fa}'), ('\u{24c2}', '\u{24c2}'), ('\u{25aa}', '\u{25ab}'), ('\u{25b6}', '\u{25b6}'),
    ('\u{25c0}', '\u{25c0}'), ('\u{25fb}', '\u{25fc}'), ('\u{2600}', '\u{2604}'), ('\u{260e}', '\u{260e}'),
    ('\u{2611}', '\u{2611}'), ('\u{2618}', '\u{2618}'), ('\u{261d}', '\u{261d}'), ('\u{2620}', '\u{2620}'),
    ('\u{2622}', '\u{2623}'), ('\u{2626}', '\u{2626}'), ('\u{262a}', '\u{262a}'), ('\u{262e}', '\u{262f}'),
    ('\u{2638}', '\u{263a}'), ('\u{2640}', '\u{2640}'), ('\u{2642}', '\u{2642}'), ('\u{265f}', '\u{2660}'),
    ('\u{2663}', '\u{2663}'), ('\u{2665}', '\u{2666}'), ('\u{2668}', '\u{2668}'), ('\u{267b}', '\u{267b}'),
    ('\u{267e}', '\u{267e}'), ('\u{2692}', '\u{2692}'), ('\u{2694}', '\u{2697}'), ('\u{2699}', '\u{2699}'),
    ('\u{269b}', '\u{269c}'), ('\u{26a0}', '\u{26a0}'), ('\u{26a7}', '\u{26a7}'), ('\u{26b0}', '\u{26b1}'),
    ('\u{26c8}', '\u{26c8}'), ('\u{26cf}', '\u{26cf}'), ('\u{26d1}', '\u{26d1}'), ('\u{26d3}', '\u{26d3}'),
    ('\u{26e9}', '\u{26e9}'), ('\u{26f0}', '\u{26f1}'), ('\u{26f4}', '\u{26f4}'), ('\u{26f7}', '\u{26f9}'),
    ('\u{2702}', '\u{2702}'), ('\u{2708}', '\u{2709}'), ('\u{270c}', '\u{270d}'), ('\u{270f}', '\u{270f}'),
    ('\u{2712}', '\u{2712}'), ('\u{2714}', '\u{2714}'), ('\u{2716}', '\u{2716}'), ('\u{271d}', '\u{271d}'),
    ('\u{2721}', '\u{2721}'), ('\u{2733}', '\u{2734}'), ('\u{2744}', '\u{2744}'), ('\u{2747}', '\u{2747}'),
    ('\u{2763}', '\u{2764}'), ('\u{27a1}', '\u{27a1}'), ('\u{2934}', '\u{2935}'), ('\u{2b05}', '\u{2b07}'),
    ('\u{3030}', '\u{3030}'), ('\u{303d}', '\u{303d}'), ('\u{3297}', '\u{3297}'), ('\u{3299}', '\u{3299}'),
    ('\u{1f170}', '\u{1f171}'), ('\u{1f17e}', '\u{1f17f}'), ('\u{1f202}', '\u{1f202}'),
    ('\u{1f237}', '\u{1f237}'), ('\u{1f321}', '\u{1f321}'), ('\u{1f324}', '\u{1f32c}'),
    ('\u{1f336}', '\u{1f336}'), ('\u{1f37d}', '\u{1f37d}'), ('\u{1f396}', '\u{1f397}'),
    ('\u{1f399}', '\u{1f39b}'), ('\u{1f39e}', '\u{1f39f}'), ('\u{1f3cb}', '\u{1f3ce}'),
    ('\u{1f3d4}', '\u{1f3df}'), ('\u{1f3f3}', '\u{1f3f3}'), ('\u{1f3f5}', '\u{1f3f5}'),
    ('\u{1f3f7}', '\u{1f3f7}'), ('\u{1f43f}', '\u{1f43f}'), ('\u{1f441}', '\u{1f441}'),
    ('\u{1f4fd}', '\u{1f4fd}'), ('\u{1f549}', '\u{1f54a}'), ('\u{1f56f}', '\u{1f570}'),
    ('\u{1f573}', '\u{1f579}'), ('\u{1f587}', '\u{1f587}'), ('\u{1f58a}', '\u{1f58d}'),
    ('\u{1f590}', '\u{1f590}'), ('\u{1f5a5}', '\u{1f5a5}'), ('\u{1f5a8}', '\u{1f5a8}'),
    ('\u{1f5b1}', '\u{1f5b2}'), ('\u{1f5bc}', '\u{1f5bc}'), ('\u{1f5c2}', '\u{1f5c4}'),
    ('\u{1f5d1}', '\u{1f5d3}'), ('\u{1f5dc}', '\u{1f5de}'), ('\u{1f5e1}', '\u{1f5e1}'),
    ('\u{1f5e3}', '\u{1f5e3}'), ('\u{1f5e8}', '\u{1f5e8}'), ('\u{1f5ef}', '\u{1f5ef}'),
    ('\u{1f5f3}', '\u{1f5f3}'), ('\u{1f5fa}', '\u{1f5fa}'), ('\u{1f6cb}', '\u{1f6cb}'),
    ('\u{1f6cd}', '\u{1f6cf}'), ('\u{1f6e0}', '\u{1f6e5}'), ('\u{1f6e9}', '\u{1f6e9}'),
    ('\u{1f6f0}', '\u{1f6f0}'), ('\u{1f6f3}', '\u{1f6f3}'),
];

/// The form of emoji-test.txt that is fully qualified: each selector is removed, and [`EMOJI_STYLE`] follows each
/// character that would be text without it.
#[must_use]
pub fn canonical(emoji: Cow<'_, str>) -> Cow<'_, str> {
    if emoji.chars().eq(canonical_chars(&emoji)) { emoji } else { canonical_chars(&emoji).collect() }
}

fn plain_chars(emoji: &str) -> impl Iterator<Item = char> {
    emoji.chars().filter(|c| !matches!(*c, EMOJI_STYLE | TEXT_STYLE))
}

fn canonical_chars(emoji: &str) -> impl Iterator<Item = char> {
    let next = plain_chars(emoji).skip(1).map(Some).chain([None]);
    plain_chars(emoji)
        .zip(next)
        .flat_map(|(c, next)| [Some(c), needs_style(c, next).then_some(EMOJI_STYLE)])
        .flatten()
}

fn needs_style(c: char, next: Option<char>) -> bool {
    match next {
        // A skin tone makes a picture of the character before it.
        Some('\u{1f3fb}'..='\u{1f3ff}') => false,
        Some(KEYCAP) if matches!(c, '0'..='9' | '#' | '*') => true,
        _ => {
            let at = TEXT_BY_DEFAULT.partition_point(|(_, last)| *last < c);
            TEXT_BY_DEFAULT.get(at).is_some_and(|(first, _)| *first <= c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_an_emoji_have_one_form() {
        let cases: Vec<[String; 2]> =
            serde_json::from_str(include_str!("../../harness/fixtures/emoji.json")).unwrap();
        for [given, expected] in cases {
            assert_eq!(canonical(Cow::Borrowed(&given)), expected, "{given:?}");
            assert!(matches!(canonical(Cow::Borrowed(&expected)), Cow::Borrowed(_)), "{expected:?}");
        }
    }

    #[test]
    fn table_of_characters_is_sorted() {
        assert!(TEXT_BY_DEFAULT.iter().all(|(first, last)| first <= last));
        assert!(TEXT_BY_DEFAULT.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
