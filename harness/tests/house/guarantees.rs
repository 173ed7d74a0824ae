//! The page of guarantees stays true: the tests that it names are there and run, none that breaks something is left
//! out, and it has every invariant, every rule of the checker and every switch that breaks a promise.

use std::collections::BTreeSet;
use std::fs;

use tidings_shared::sabotage::Sabotage;

use crate::tree::{assert_none, quoted, read, root, section, sources};

const PAGE: &str = "docs/GUARANTEES.md";
const TESTS: &str = "harness/tests/";

/// What the page names as `file::test`, by path and name. A file without a folder is one of the tests across services.
fn named() -> BTreeSet<(String, String)> {
    let path = |file: &str| if file.contains('/') { file.to_owned() } else { format!("{TESTS}{file}.rs") };
    let spans = quoted(&read(PAGE));
    spans
        .iter()
        .filter_map(|span| span.split_once("::"))
        .map(|(f, test)| (path(f), test.to_owned()))
        .collect()
}

/// The tests of a source file that run unless they are left out by name.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let (mut found, mut is_test, mut is_ignored) = (BTreeSet::new(), false, false);
    for line in text.lines().map(str::trim) {
        if let Some(function) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
            found.extend(function.split('(').next().filter(|_| is_test && !is_ignored));
        } else if line.starts_with("#[") {
            is_test |= line.ends_with("test]") || line.contains("::test(");
            is_ignored |= line.starts_with("#[ignore");
            continue;
        } else if line.starts_with("//") {
            continue;
        }
        (is_test, is_ignored) = (false, false);
    }
    found
}

#[test]
fn every_test_that_the_guarantees_name_is_there_and_run() {
    let named = named();
    let gone = named.iter().filter_map(|(path, test)| {
        let Ok(text) = fs::read_to_string(root().join(path)) else { return Some(format!("{path}: no file")) };
        (!tests_of(&text).contains(test.as_str())).then(|| format!("{path}: {test}"))
    });
    assert_none("named as a test that is run, and not there", &gone.collect::<Vec<_>>());
    // So that a change of form in the page cannot make the search find nothing.
    assert!(named.len() > 50, "only {} tests are named", named.len());
}

#[test]
fn every_test_that_breaks_something_under_load_is_named_among_the_guarantees() {
    let named = named();
    let breaks = |path: &str| {
        path.strip_prefix(TESTS)
            .is_some_and(|name| name.starts_with("faults") || name.starts_with("sabotage"))
    };
    let mut left_out = Vec::new();
    for file in sources(TESTS).into_iter().filter(|file| breaks(&file.path)) {
        let tests = tests_of(&file.text).into_iter().map(ToOwned::to_owned);
        let tests = tests.map(|test| (file.path.clone(), test)).filter(|test| !named.contains(test));
        left_out.extend(tests.map(|(path, test)| format!("{path}: {test}")));
    }
    assert_none("not on the page of guarantees", &left_out);
}

#[test]
fn the_guarantees_have_every_invariant_rule_and_switch() {
    let invariants = section("docs/ARCHITECTURE.md", "## Invariants");
    let invariants: Vec<&str> =
        invariants.split(". **").skip(1).filter_map(|rest| rest.split(".**").next()).collect();
    let promises = section(PAGE, "## The promises");
    let promised: Vec<&str> = promises.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(promised, invariants);

    let checked = section(PAGE, "## How it is checked");
    let row = |name: &str| checked.lines().any(|line| line.starts_with(&format!("| `{name}` |")));
    let history = read("harness/src/history.rs");
    let rules = history.split("pub enum Rule {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let rules = rules.lines().filter_map(|line| line.trim().strip_suffix(','));
    let switches = Sabotage::ALL.into_iter().map(|(name, _)| name);
    let untold: Vec<String> =
        rules.chain(switches).filter(|name| !row(name)).map(ToOwned::to_owned).collect();
    assert_none("no row tells of it", &untold);
}
