//! docs/GUARANTEES.md and docs/RULES.md are up to date: the tests that they name exist and run in the stated gate, they
//! name every fault test and every replay, and GUARANTEES has every invariant, every rule of the checker and every
//! sabotage switch.

use std::collections::BTreeMap;
use std::fs;

use tidings_shared::sabotage::Sabotage;

use crate::tree::{assert_none, read, root, section, sources};

const GUARANTEES_PAGE: &str = "docs/GUARANTEES.md";
/// The page that lists the rules of the core, each with its replay.
const RULES_PAGE: &str = "docs/RULES.md";
const TESTS_FOLDER: &str = "harness/tests/";
/// This file excludes tests that are started by hand from the second gate.
const NEXTEST_CONFIG: &str = ".config/nextest.toml";

/// On the pages, this text follows the name of a test that only the second gate runs.
const LONG_MARK: &str = " (long)";
/// The `#[ignore]` reason of such a test begins with this.
const LONG_REASON_PREFIX: &str = "long: ";
/// The `#[ignore]` reason of a function that people start by hand, and that no gate runs, begins with this.
const BY_HAND_REASON_PREFIX: &str = "by hand: ";

/// The tests that the pages name as `file::test`. Maps path and name to whether the page marks the test as long. A file
/// without a folder is in `harness/tests/` or `bench/tests/`.
fn tests_on_pages() -> BTreeMap<(String, String), bool> {
    let files: Vec<_> = sources(TESTS_FOLDER).into_iter().chain(sources("bench/tests/")).collect();
    let path = |file: &str| {
        let ending = format!("/{file}.rs");
        let found = files.iter().map(|found| &found.path).find(|path| path.ends_with(&ending));
        if file.contains('/') { file.to_owned() } else { found.cloned().unwrap_or(ending) }
    };
    let page = [read(GUARANTEES_PAGE), read(RULES_PAGE)].join("\n");
    let outside = page.split("```").step_by(2).collect::<String>();
    let parts: Vec<&str> = outside.split('`').collect();
    let spans = parts.iter().skip(1).step_by(2).zip(parts.iter().skip(2).step_by(2));
    let tests = spans.filter_map(|(span, behind)| {
        let (file, test) = span.split_once("::")?;
        Some(((path(file), test.to_owned()), behind.starts_with(LONG_MARK)))
    });
    tests.collect()
}

/// The tests of a source file, each with the reason of its `#[ignore]`. Without `#[ignore]` the reason is empty.
pub fn tests_of(text: &str) -> BTreeMap<&str, &str> {
    let (mut found, mut is_test, mut ignored) = (BTreeMap::new(), false, "");
    for line in text.lines().map(str::trim) {
        if let Some(function) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
            let name = function.split('(').next().filter(|_| is_test);
            found.extend(name.map(|name| (name, ignored)));
        } else if line.starts_with("#[") {
            is_test |= line.ends_with("test]") || line.contains("::test(");
            if line.starts_with("#[ignore") {
                ignored = line.split('"').nth(1).unwrap_or("no reason");
            }
            continue;
        } else if line.starts_with("//") {
            continue;
        }
        (is_test, ignored) = (false, "");
    }
    found
}

#[test]
fn tests_named_in_guarantees_exist_in_the_stated_gate() {
    let named = tests_on_pages();
    let wrong = named.iter().filter_map(|((path, test), long)| {
        let Ok(text) = fs::read_to_string(root().join(path)) else { return Some(format!("{path}: no file")) };
        let Some(ignored) = tests_of(&text).get(test.as_str()).copied() else {
            return Some(format!("{path}: {test} does not exist"));
        };
        let is_long = ignored.starts_with(LONG_REASON_PREFIX);
        (*long != is_long || !is_long && !ignored.is_empty())
            .then(|| format!("{path}: {test} is ignored for {ignored:?}, and the page says long: {long}"))
    });
    assert_none("wrong names on the pages of guarantees and rules", &wrong.collect::<Vec<_>>());
    // Fails if the form of the page changed and the search finds nothing.
    assert!(named.len() > 50, "only {} tests are named", named.len());
}

#[test]
fn the_page_lists_every_long_test_with_its_reason() {
    let mut long = Vec::new();
    for file in sources("") {
        for (test, reason) in tests_of(&file.text).into_iter().filter(|(_, reason)| !reason.is_empty()) {
            let module = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
            match reason.strip_prefix(LONG_REASON_PREFIX) {
                Some(reason) => long.push(format!("| `{module}::{test}` (long) | {reason} |")),
                None => {
                    assert!(
                        reason.starts_with(BY_HAND_REASON_PREFIX),
                        "{}: {test} is ignored: {reason}",
                        file.path
                    );
                    let left_out = format!("not test({test})");
                    assert!(
                        read(NEXTEST_CONFIG).contains(&left_out),
                        "{NEXTEST_CONFIG}: `{left_out}` is missing"
                    );
                }
            }
        }
    }
    long.sort();
    let section = section(GUARANTEES_PAGE, "## Three sizes");
    let listed: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, long, "the table of {GUARANTEES_PAGE} must be\n{}", long.join("\n"));
}

/// Tests share a server, so a test must not depend on the databases of other tests.
#[test]
fn tests_query_sessions_and_locks_of_own_database_only() {
    let mut wrong = Vec::new();
    let of_its_own =
        |text: &str| ["own_postgres()", "durable_postgres("].iter().any(|way| text.contains(way));
    for file in sources("harness/").into_iter().filter(|file| !of_its_own(&file.text)) {
        let literals = file.text.split('"').skip(1).step_by(2);
        let of_all = literals.filter(|text| {
            ["pg_stat_activity", "pg_locks"].iter().any(|view| text.contains(view))
                && text.contains("SELECT")
                && !text.contains("current_database()")
        });
        wrong.extend(of_all.map(|text| format!("{}: {text}", file.path)));
    }
    assert_none("statements that look at other tests' sessions or locks", &wrong);
}

#[test]
fn fault_tests_are_named_in_guarantees() {
    let named = tests_on_pages();
    let breaks = |path: &str| {
        path.strip_prefix(TESTS_FOLDER)
            .and_then(|path| path.rsplit('/').next())
            .is_some_and(|name| ["faults", "sabotage", "rules_"].iter().any(|kind| name.starts_with(kind)))
    };
    let mut left_out = Vec::new();
    for file in sources(TESTS_FOLDER).into_iter().filter(|file| breaks(&file.path)) {
        let tests = tests_of(&file.text).into_keys().map(|test| (file.path.clone(), test.to_owned()));
        let tests = tests.filter(|test| !named.contains_key(test));
        left_out.extend(tests.map(|(path, test)| format!("{path}: {test}")));
    }
    assert_none("not on the pages of guarantees and rules", &left_out);
}

#[test]
fn the_guarantees_have_every_invariant_rule_and_switch() {
    let invariants = section("docs/ARCHITECTURE.md", "## Invariants");
    let invariants: Vec<&str> =
        invariants.split(". **").skip(1).filter_map(|rest| rest.split(".**").next()).collect();
    let promises = section(GUARANTEES_PAGE, "## The promises");
    let promised: Vec<&str> = promises.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(promised, invariants);

    let checked = section(GUARANTEES_PAGE, "## How it is checked");
    let row = |name: &str| checked.lines().any(|line| line.starts_with(&format!("| `{name}` |")));
    let history = read("harness/src/history.rs");
    let rules = history.split("pub enum Rule {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let rules = rules.lines().filter_map(|line| line.trim().strip_suffix(','));
    let switches = Sabotage::ALL.iter().map(|switch| switch.as_str());
    let missing: Vec<String> =
        rules.chain(switches).filter(|name| !row(name)).map(ToOwned::to_owned).collect();
    assert_none("rows are missing", &missing);
}
