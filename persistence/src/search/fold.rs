//! Folds a text for comparison: texts that people take for the same have the same folded form. The search of messages,
//! of people and of rooms all use this form, so none depends on the locale of PostgreSQL. Pure.
//!
//! The folded form ignores case (full case folding: `ß` is `ss`), compatibility forms (NFKD), accents, the vowel signs
//! of Arabic and Hebrew, and invisible characters. A letter that differs from a plain letter only by a stroke or a hook
//! is this plain letter. Marks of other scripts, such as the vowel signs of Hindi, distinguish words and stay.
//!
//! Signatures of messages contain folded words. A change of the folded form of any text needs another size of
//! signatures: `signature.rs`.

use std::ops::Range;

use icu_properties::props::{DefaultIgnorableCodePoint, Script};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{compose, is_combining_mark};

/// The folded form of a text. Folding it again changes nothing.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    push_folded(&mut folded, text);
    folded
}

/// Appends the folded form of `text`. The text is whole, or is cut at the [`clusters`] of a longer text.
pub(super) fn push_folded(folded: &mut String, text: &str) {
    if text.is_ascii() {
        folded.extend(text.chars().map(|c| c.to_ascii_lowercase()));
        return;
    }
    // Ignored characters are dropped before the decomposition, which does not reorder marks across them.
    for c in text.chars().filter(|c| !is_dropped(*c)).nfkd() {
        if c.is_ascii() {
            folded.push(c.to_ascii_lowercase());
        } else if is_voicing_mark(c) {
            push_voiced(folded, c);
        } else if !is_dropped(c) {
            // Lower case alone would keep ß and both forms of sigma. Upper case alone would keep ẞ.
            for c in c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase) {
                match plain_letters(c) {
                    Some(plain) => folded.push_str(plain),
                    None => folded.push(c),
                }
            }
        }
    }
}

/// The byte ranges of the clusters of a text: a character, and the marks and ignored characters that follow it. The
/// folded forms of the clusters together are the folded form of the text.
pub(super) fn clusters(text: &str) -> impl Iterator<Item = Range<usize>> {
    let starts = text.char_indices().filter(|(at, c)| *at == 0 || !continues_cluster(*c)).map(|(at, _)| at);
    let mut starts = starts.peekable();
    std::iter::from_fn(move || {
        let start = starts.next()?;
        Some(start..starts.peek().copied().unwrap_or(text.len()))
    })
}

/// The half-width voicing marks are no marks in Unicode, but decompose to marks.
fn continues_cluster(c: char) -> bool {
    !c.is_ascii() && (is_combining_mark(c) || is_ignored(c) || matches!(c, '\u{ff9e}' | '\u{ff9f}'))
}

/// Whether `c` has no folded form: it is ignored, or a mark that people omit when they write or search.
fn is_dropped(c: char) -> bool {
    !c.is_ascii() && (is_ignored(c) || is_combining_mark(c) && is_optional_mark(c))
}

/// Whether `c` is invisible, such as a joiner or a variation selector, or the Arabic tatweel, which stretches a word.
fn is_ignored(c: char) -> bool {
    c == '\u{640}' || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Whether a mark is an accent or a vowel sign that people omit: a mark of these scripts, or of several scripts.
fn is_optional_mark(mark: char) -> bool {
    let optional = matches!(
        CodePointMapData::<Script>::new().get(mark),
        Script::Inherited
            | Script::Latin
            | Script::Greek
            | Script::Cyrillic
            | Script::Arabic
            | Script::Hebrew
            | Script::Syriac
    );
    optional && !is_voicing_mark(mark)
}

/// Whether `c` is a mark that makes another letter of Kana: が of か, or ぱ of は.
fn is_voicing_mark(c: char) -> bool {
    matches!(c, '\u{3099}' | '\u{309a}')
}

/// Composes the last letter and a voicing mark to one letter, so that か is not a prefix of が.
fn push_voiced(folded: &mut String, mark: char) {
    let last = folded.pop();
    match last.and_then(|last| compose(last, mark)) {
        Some(voiced) => folded.push(voiced),
        None => folded.extend(last.into_iter().chain([mark])),
    }
}

/// Whether `c` is Han, Kana, Thai, Lao, Burmese or Khmer, which are written without spaces.
pub(super) fn is_written_without_spaces(c: char) -> bool {
    // Thai has the lowest code points of these scripts, so most texts need no look-up of the script.
    c >= '\u{e00}'
        && match CodePointMapData::<Script>::new().get(c) {
            Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Thai
            | Script::Lao
            | Script::Myanmar
            | Script::Khmer => true,
            // Letters that Hiragana and Katakana share, such as ー, and 〆.
            Script::Common => matches!(c, '\u{3006}' | '\u{3031}'..='\u{3035}' | '\u{30fc}'),
            _ => false,
        }
}

/// The plain letters for a letter in lower case that has no decomposition; None if it is plain. The table follows the
/// names in UnicodeData: a LETTER L WITH STROKE is an L. A ligature becomes both letters. The last lines are letters of
/// Arabic that differ by dots at the end of a word, by the keyboard, or by a sign above.
fn plain_letters(c: char) -> Option<&'static str> {
    Some(match c {
        'ᶏ' | 'ⱥ' => "a",
        'æ' => "ae",
        'ꜻ' => "av",
        'ƀ' | 'ƃ' | 'ɓ' | 'ᵬ' | 'ᶀ' | 'ꞗ' => "b",
        'ƈ' | 'ȼ' | 'ɕ' | 'ꞓ' | 'ꞔ' => "c",
        'đ' | 'ƌ' | 'ȡ' | 'ɖ' | 'ɗ' | 'ᵭ' | 'ᶁ' | 'ᶑ' | 'ꟈ' | 'ð' => "d",
        'ɇ' | 'ᶒ' | 'ᶓ' | 'ⱸ' | 'ꬴ' | 'ɛ' => "e",
        'ƒ' | 'ᵮ' | 'ᶂ' | 'ꞙ' => "f",
        'ǥ' | 'ɠ' | 'ᶃ' | 'ꞡ' => "g",
        'ħ' | 'ɦ' | 'ⱨ' | 'ꞕ' => "h",
        'ɨ' | 'ᶖ' => "i",
        'ɉ' | 'ɟ' | 'ʄ' | 'ʝ' | 'ȷ' => "j",
        'ƙ' | 'ᶄ' | 'ⱪ' | 'ꝁ' | 'ꝃ' | 'ꝅ' | 'ꞣ' => "k",
        'ł' | 'ƚ' | 'ȴ' | 'ɫ' | 'ɬ' | 'ɭ' | 'ᶅ' | 'ⱡ' | 'ꝉ' | 'ꞎ' | 'ꬷ' | 'ꬸ' | 'ꬹ' => {
            "l"
        }
        'ɱ' | 'ᵯ' | 'ᶆ' | 'ꬺ' => "m",
        'ƞ' | 'ȵ' | 'ɲ' | 'ɳ' | 'ᵰ' | 'ᶇ' | 'ꞑ' | 'ꞥ' | 'ꬻ' | 'ŋ' => "n",
        'ø' | 'ᶗ' | 'ⱺ' | 'ꝋ' | 'ꝍ' | 'ꬿ' | 'ɔ' => "o",
        'œ' => "oe",
        'ƥ' | 'ᵱ' | 'ᵽ' | 'ᶈ' | 'ꝑ' | 'ꝓ' | 'ꝕ' => "p",
        'ɋ' | 'ʠ' | 'ꝗ' | 'ꝙ' => "q",
        'ɍ' | 'ɼ' | 'ɽ' | 'ɾ' | 'ᵲ' | 'ᵳ' | 'ᶉ' | 'ꞧ' | 'ꭉ' => "r",
        'ȿ' | 'ʂ' | 'ᵴ' | 'ᶊ' | 'ẜ' | 'ẝ' | 'ꞩ' | 'ꟊ' => "s",
        'ŧ' | 'ƫ' | 'ƭ' | 'ȶ' | 'ʈ' | 'ᵵ' | 'ⱦ' => "t",
        'ᵺ' | 'þ' => "th",
        'ʉ' | 'ᶙ' | 'ꞹ' | 'ꭎ' | 'ꭒ' => "u",
        'ʋ' | 'ᶌ' | 'ⱱ' | 'ⱴ' | 'ꝟ' => "v",
        'ⱳ' => "w",
        'ᶍ' | 'ꭖ' | 'ꭗ' | 'ꭘ' | 'ꭙ' => "x",
        'ƴ' | 'ɏ' | 'ỿ' | 'ꭚ' => "y",
        'ƶ' | 'ȥ' | 'ɀ' | 'ʐ' | 'ʑ' | 'ᵶ' | 'ᶎ' | 'ⱬ' => "z",
        'ґ' | 'ғ' | 'ҕ' | 'ӷ' | 'ӻ' => "г",
        'җ' => "ж",
        'ҙ' => "з",
        'қ' | 'ҝ' | 'ҟ' | 'ӄ' => "к",
        'ӆ' | 'ԓ' | 'ԡ' | 'ԯ' => "л",
        'ӎ' => "м",
        'ң' | 'ӈ' | 'ӊ' | 'ԣ' | 'ԩ' => "н",
        'ҧ' | 'ԥ' => "п",
        'ҏ' => "р",
        'ҫ' => "с",
        'ҭ' | 'ꚋ' => "т",
        'ҳ' | 'ӽ' | 'ӿ' => "х",
        'ҷ' | 'ҹ' => "ч",
        'ꙑ' => "ы",
        'ѽ' => "ѡ",
        'ұ' => "ү",
        'ԧ' => "һ",
        'ҿ' => "ҽ",
        'ٱ' => "ا",
        'ک' => "ك",
        'ة' => "ه",
        'ى' | 'ی' => "ي",
        _ => return None,
    })
}

/// Texts that people take for the same. The search of words, of people and of rooms is tested with them too.
#[cfg(test)]
pub(crate) const SAME: &[(&str, &str)] = &[
    ("ölpreis", "Ölpreis"),
    ("o\u{308}lpreis", "ÖLPREIS"),
    ("ПРИВЕТ", "привет"),
    ("Йод", "иод"),
    ("ΣΟΦΟΣ", "σοφος"),
    ("ΣΟΦΟΣ", "σοφός"),
    ("Đà Nẵng", "da nang"),
    ("Straße", "STRASSE"),
    ("STRAẞE", "strasse"),
    ("Łukasz", "lukasz"),
    ("Ødegård", "odegard"),
    ("Đức", "duc"),
    ("Işık", "isik"),
    ("İSTANBUL", "istanbul"),
    ("Ærø", "aero"),
    ("Þór", "thor"),
    ("Čačak Žižek", "cacak zizek"),
    ("ﾃﾞｰﾀ", "データ"),
    ("ﾊﾟﾝ", "パン"),
    ("テ\u{3099}ータ", "データ"),
    ("ＡＢＣ １２３", "abc 123"),
    ("ﬁne Ⅷ ㎏", "fine viii kg"),
    ("مُحَمَّد", "محمد"),
    ("محـــمد", "محمد"),
    ("أحمد", "احمد"),
    ("إسلام", "اسلام"),
    ("آسيا", "اسيا"),
    ("مسؤول", "مسوول"),
    ("مصطفى", "مصطفي"),
    ("ﻣﺤﻤﺪ", "محمد"),
    ("علی", "على"),
    ("שָׁלוֹם", "שלום"),
    ("שׁ", "ש"),
    ("葛\u{e0100}城市", "葛城市"),
    ("〇\u{fe00}〇", "〇〇"),
    ("می\u{200c}خواهم", "میخواهم"),
    ("co\u{ad}operate", "cooperate"),
    ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIFFERENT: &[(&str, &str)] =
        &[("か", "が"), ("ハ", "パ"), ("की", "का"), ("a", "b"), ("茶", "東"), ("ที่", "ท"), ("1", "2")];

    #[test]
    fn texts_that_look_the_same_have_one_folded_form() {
        for (one, other) in SAME {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
        }
    }

    #[test]
    fn marks_that_distinguish_letters_are_kept() {
        for (one, other) in DIFFERENT {
            assert_ne!(fold(one), fold(other), "{one} and {other}");
        }
    }

    #[test]
    fn each_character_is_folded_once_and_without_regard_to_case() {
        // The other characters are ideographs, Hangul, and those without letters.
        let assigned = ('\u{0}'..='\u{33ff}').chain('\u{a000}'..='\u{abff}').chain('\u{f900}'..='\u{1ffff}');
        for c in assigned {
            let folded = fold(&c.to_string());
            assert_eq!(fold(&folded), folded, "{c:?}");
            assert_eq!(fold(&c.nfkc().collect::<String>()), folded, "the composed form of {c:?}");
            // The iota below a Greek letter is dropped like an accent, but its upper case is a letter.
            if !c.nfd().any(|part| part == '\u{345}') {
                assert_eq!(fold(&c.to_uppercase().to_string()), folded, "the upper case of {c:?}");
                assert_eq!(fold(&c.to_lowercase().to_string()), folded, "the lower case of {c:?}");
            }
        }
    }

    #[test]
    fn scripts_without_spaces_are_known() {
        for c in "東々〇〆デーあァทກကក".chars() {
            assert!(is_written_without_spaces(c), "{c}");
        }
        for c in "aжשعक한1٣".chars() {
            assert!(!is_written_without_spaces(c), "{c}");
        }
    }

    proptest! {
        #[test]
        fn folding_again_changes_nothing(text in "\\PC{0,40}|[a-cſßİıかﾞ\u{3099}\u{300}-\u{36f}\u{64b}-\u{655}]{0,20}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }

        #[test]
        fn order_of_marks_does_not_matter(marks in "[\u{300}-\u{36f}\u{591}-\u{5bd}\u{64b}-\u{655}]{0,6}") {
            let reversed: String = marks.chars().rev().collect();
            for base in ["o", "ا", "ש", "か"] {
                prop_assert_eq!(fold(&format!("{base}{marks}")), fold(&format!("{base}{reversed}")));
            }
        }

        #[test]
        fn clusters_are_folded_alone(text in "\\PC{0,40}|[aéがﾞ\u{300}\u{327}\u{200d}]{0,20}") {
            let mut folded = String::new();
            clusters(&text).for_each(|range| push_folded(&mut folded, &text[range]));
            prop_assert_eq!(folded, fold(&text));
        }
    }
}
