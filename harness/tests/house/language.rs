//! Rules for language: a public type name means one thing within a crate, test names state condition and result, and
//! the product sources contain no idioms.

use std::collections::BTreeMap;

use crate::guarantees::tests_of;
use crate::tree::{assert_none, sources, tree};

const CRATES: [&str; 10] = [
    "bench",
    "files",
    "gateway",
    "harness",
    "migrations",
    "persistence",
    "probe",
    "push",
    "shared",
    "webhooks",
];
const MAX_TEST_NAME_LENGTH: usize = 70;
/// A test name that begins with one of these is a sentence instead of `subject_condition_result`.
const BANNED_BEGINNINGS: [&str; 9] =
    ["what_", "who_", "whoever_", "whatever_", "where_", "when_", "while_", "so_", "only_whoever"];
const PRODUCT_SOURCES: [&str; 8] = [
    "clients/react/src/",
    "clients/ts/src/",
    "files/src/",
    "gateway/src/",
    "persistence/src/",
    "push/src/",
    "shared/src/",
    "webhooks/src/",
];
/// Idioms and unclear words that the product's sources must not contain. The last word of a phrase matches as a prefix:
/// `stranger` also finds `strangers`.
const IDIOMS: [&str; 19] = [
    "bid farewell",
    "call upon",
    "called upon",
    "deafen",
    "farewell",
    "is none of",
    "lead on",
    "leads on",
    "nothing of theirs",
    "so long",
    "so many",
    "stand still",
    "stands still",
    "stranger",
    "to be had",
    "turn away",
    "turned away",
    "whoever",
    "whomever",
];

/// The name of the type that a line of Rust defines with any `pub` visibility.
fn public_type_name(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = if rest.starts_with('(') { rest.split_once(')')?.1 } else { rest };
    let (kind, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let name = rest.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next()?;
    // The name is empty if a macro inserts it (`$name`).
    (!name.is_empty() && ["struct", "enum", "trait", "type"].contains(&kind)).then_some(name)
}

#[test]
fn public_type_names_are_unique_within_a_crate() {
    let mut broken = Vec::new();
    for name in CRATES {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in sources(&format!("{name}/src/")) {
            for found in file.code().lines().filter_map(public_type_name) {
                places.entry(found.to_owned()).or_default().push(file.path.clone());
            }
        }
        assert!(!places.is_empty(), "no types were found in {name}");
        let repeated = places.iter().filter(|(_, paths)| paths.len() > 1);
        broken.extend(repeated.map(|(found, paths)| format!("{name}: {found} in {}", paths.join(", "))));
    }
    assert_none("type names with more than one definition", &broken);
}

#[test]
fn test_names_are_short_and_begin_with_a_subject() {
    let (mut broken, mut count) = (Vec::new(), 0);
    for file in sources("") {
        for test in tests_of(&file.text).into_keys() {
            count += 1;
            if BANNED_BEGINNINGS.iter().any(|beginning| test.starts_with(beginning)) {
                broken.push(format!("{}: {test} does not begin with a subject", file.path));
            }
            if test.len() > MAX_TEST_NAME_LENGTH {
                broken.push(format!("{}: {test} has {} characters", file.path, test.len()));
            }
        }
    }
    assert!(count > 500, "only {count} tests were found");
    assert_none("test names", &broken);
}

/// The words of a text in lower case, each with the number of its line. Identifiers are split into words. Punctuation
/// is an empty word, so that no idiom spans two sentences.
fn split_words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut word = String::new();
        for letter in line.chars().chain([' ']) {
            let begins_word = letter.is_uppercase() && word.ends_with(char::is_lowercase);
            if (begins_word || !letter.is_alphanumeric()) && !word.is_empty() {
                words.push((index + 1, std::mem::take(&mut word).to_lowercase()));
            }
            if letter.is_alphanumeric() {
                word.push(letter);
            } else if ".,:;!?()".contains(letter) {
                words.push((index + 1, String::new()));
            }
        }
    }
    words
}

/// The lines on which an idiom begins.
fn lines_with(idiom: &str, words: &[(usize, String)]) -> Vec<usize> {
    let idiom: Vec<&str> = idiom.split(' ').collect();
    let Some((last, beginning)) = idiom.split_last() else { return Vec::new() };
    let matches = |window: &&[(usize, String)]| {
        let same = window.iter().zip(beginning).all(|((_, word), expected)| word == expected);
        same && window.last().is_some_and(|(_, word)| word.starts_with(last))
    };
    words.windows(idiom.len()).filter(matches).map(|window| window[0].0).collect()
}

#[test]
fn product_sources_contain_no_idioms() {
    assert_eq!(lines_with("so long", &split_words("// so\n// longer\n// so. Long\nsoLong")), [1, 4]);
    let mut broken = Vec::new();
    for place in PRODUCT_SOURCES {
        let files: Vec<_> = tree().into_iter().filter(|file| file.path.starts_with(place)).collect();
        assert!(!files.is_empty(), "{place} does not exist");
        for file in files {
            // Splitting a file into words is slow, so it is done only if the first word of an idiom occurs.
            let text = file.text.to_lowercase();
            let may_occur = |idiom: &&str| idiom.split(' ').next().is_some_and(|word| text.contains(word));
            let possible: Vec<&str> = IDIOMS.into_iter().filter(may_occur).collect();
            if possible.is_empty() {
                continue;
            }
            let words = split_words(&file.text);
            for idiom in possible {
                let lines = lines_with(idiom, &words);
                broken.extend(lines.iter().map(|line| format!("{}:{line}: {idiom}", file.path)));
            }
        }
    }
    assert_none("idioms", &broken);
}
