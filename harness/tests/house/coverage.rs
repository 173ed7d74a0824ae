//! Collects the `// Covers: …` lines above tests into docs/COVERAGE.md: which tests prove which part of the protocol.
//!
//! `TIDINGS_WRITE_COVERAGE=1` rewrites the page. Without it the page must be up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use tidings_shared::protocol::names::{ANSWERS, CLIENT_FRAMES, LOG_EVENTS, OTHER_FRAMES};

use crate::tree::{assert_none, read, root, section, sources};

const COVERAGE_PAGE: &str = "docs/COVERAGE.md";
const COVERS_PREFIX: &str = "// Covers: ";

/// The rows that must be covered, in order, by section of the page.
fn required_rows() -> Vec<(&'static str, Vec<String>)> {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    vec![
        ("Client frames", names(&CLIENT_FRAMES)),
        ("Answers", names(&ANSWERS)),
        ("Log events", names(&LOG_EVENTS)),
        ("Other server frames", names(&OTHER_FRAMES)),
        ("Error codes", first_cells("### Errors")),
        ("Close codes", first_cells("### Close codes").into_iter().filter(|code| code != "other").collect()),
        ("HTTP", http_rows()),
    ]
}

/// The code spans in the first cells of a section's table.
fn first_cells(heading: &str) -> Vec<String> {
    let section = section("docs/PROTOCOL.md", heading);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Method and path of each row in the tables of paths, without query parameters.
fn http_rows() -> Vec<String> {
    let page = read("docs/PROTOCOL.md");
    let mut rows = BTreeSet::new();
    for cell in page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()) {
        for span in cell.split('`').skip(1).step_by(2) {
            let Some((methods, path)) = span.split_once(' ') else { continue };
            let path = path.split(['?', ' ']).next().unwrap_or_default();
            let is_method = |method: &str| ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
            if path.starts_with('/') && methods.split('·').all(is_method) {
                rows.extend(methods.split('·').map(|method| format!("{path} {method}")));
            }
        }
    }
    rows.into_iter()
        .filter_map(|row| row.split_once(' ').map(|(path, method)| format!("{method} {path}")))
        .collect()
}

/// The tests that cover each row.
fn tests_by_row() -> BTreeMap<String, BTreeSet<String>> {
    let mut covered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources("") {
        let mut marks: Vec<String> = Vec::new();
        for line in file.text.lines().map(str::trim) {
            if let Some(list) = line.strip_prefix(COVERS_PREFIX) {
                marks.extend(list.trim_end_matches('.').split(", ").map(ToOwned::to_owned));
            } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                let name = rest.split('(').next().unwrap_or_default();
                for row in marks.drain(..) {
                    covered.entry(row).or_default().insert(format!("{} `{name}`", file.path));
                }
            }
        }
    }
    covered
}

#[test]
fn every_contract_row_has_a_test_on_the_coverage_page() {
    let (rows, covered) = (required_rows(), tests_by_row());
    let known: BTreeSet<&String> = rows.iter().flat_map(|(_, rows)| rows).collect();
    let uncovered =
        known.iter().filter(|row| !covered.contains_key(**row)).map(|row| format!("{row}: no test"));
    let unknown =
        covered.keys().filter(|row| !known.contains(row)).map(|row| format!("{row}: not in the protocol"));
    let mut page = String::from(
        "# Coverage\n\nWhich tests prove which part of [the protocol](PROTOCOL.md). Written from the \
         `Covers:` lines above\ntests by `TIDINGS_WRITE_COVERAGE=1 cargo test -p tidings-harness --test house coverage`.\n",
    );
    for (heading, rows) in &rows {
        write!(page, "\n## {heading}\n\n| what | tests |\n| --- | --- |\n").unwrap();
        for row in rows {
            let tests = covered.get(row).into_iter().flatten().cloned().collect::<Vec<_>>().join("<br>");
            writeln!(page, "| `{row}` | {tests} |").unwrap();
        }
    }
    assert_none("rows of the protocol and their tests", &uncovered.chain(unknown).collect::<Vec<_>>());
    if std::env::var_os("TIDINGS_WRITE_COVERAGE").is_some() {
        fs::write(root().join(COVERAGE_PAGE), &page).unwrap();
    }
    assert_eq!(read(COVERAGE_PAGE), page, "rewrite the page as its head says");
}
