//! The pages match the code: map, tables, protocol names, commands, links.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use tidings_shared::auth::Reason;
use tidings_shared::error::ErrorCode;
use tidings_shared::protocol::names::{ANSWERS, CLIENT_FRAMES, LOG_EVENTS, OTHER_FRAMES, VOID};
use tidings_shared::role::RANKS;

use crate::tree::{assert_none, code_spans, pages, read, root, section};

#[test]
fn architecture_map_names_existing_paths_and_every_crate() {
    let map = code_spans(&section("docs/ARCHITECTURE.md", "## The map"));
    let places: Vec<&String> =
        map.iter().filter(|name| name.ends_with('/') || name.contains(".rs")).collect();
    let missing = places.iter().filter(|place| !root().join(place).exists()).map(ToString::to_string);
    assert_none("in the map but not in the tree", &missing.collect::<Vec<_>>());
    for member in ["shared/", "gateway/", "persistence/", "migrations/", "harness/", "docs/"] {
        assert!(places.iter().any(|place| *place == member), "the map leaves out {member}");
    }
}

#[test]
fn metrics_tables_list_exactly_the_declared_metrics() {
    for (service, heading) in [
        ("gateway", "### Gateway metrics"),
        ("persistence", "### Persistence metrics"),
        ("probe", "### Metrics of the probe"),
        ("webhooks", "### Metrics of the webhooks"),
        ("files", "### Metrics of the files"),
        ("push", "### Metrics of push"),
    ] {
        let declared = read(&format!("{service}/src/metrics.rs"));
        let metric = |line: &str| {
            let (left, right) = line.trim().split_once(" = \"")?;
            let (name, help) = right.strip_suffix("\";")?.split_once("\", \"")?;
            let kind = left.split_once(": ")?.1.split(['[', '(']).next()?;
            let kind = kind.trim_start_matches("Int").trim_end_matches("Vec").to_lowercase();
            let labels =
                left.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(l, _)| l);
            let labels: Vec<String> =
                labels.split('"').skip(1).step_by(2).map(|l| format!("`{l}`")).collect();
            Some(format!("| `{name}` | {kind} | {} | {help} |", labels.join(", ")))
        };
        let declared: Vec<String> = declared.lines().filter_map(metric).collect();
        assert!(declared.len() > 5, "{service}: the declarations were not understood");
        let section = section("docs/OPERATIONS.md", heading);
        let listed: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(listed, declared, "{service}: the table must be\n{}", declared.join("\n"));
    }
}

#[test]
fn the_protocol_page_names_every_frame_code_reason_and_route() {
    let between = |path: &str, from: &str, to: &str| {
        let text = read(path);
        let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{path} has no {from:?}"));
        rest.split_once(to).unwrap().0.to_owned()
    };
    let mut names: Vec<String> = Reason::ALL.map(|reason| reason.as_str().to_owned()).into();
    names.extend(ErrorCode::ALL.map(|code| code.as_str().to_owned()));
    names.extend(RANKS.map(|(role, _)| role.to_owned()));
    let frames = CLIENT_FRAMES.iter().chain(&ANSWERS).chain(&LOG_EVENTS).chain(&OTHER_FRAMES);
    // docs/PROTOCOL.md names `void` only inside JSON, not as a code span.
    names.extend(frames.filter(|name| **name != VOID).map(ToString::to_string));
    let codes = between("shared/src/protocol/close.rs", "pub enum CloseCode {", "\n}");
    names.extend(
        codes.lines().filter_map(|line| Some(line.split_once("= ")?.1.trim_end_matches(',').to_owned())),
    );
    let routes = read("persistence/src/http.rs");
    let route = |text: &str| {
        text.trim_start().strip_prefix('"').and_then(|t| t.split('"').next()).map(ToOwned::to_owned)
    };
    names.extend(routes.split("resource(").filter_map(route).filter(|path| path.starts_with('/')));
    // Fails if the form of the sources changed and the search finds nothing.
    assert!(names.len() > 40, "only {} names were found", names.len());
    let documented = code_spans(&read("docs/PROTOCOL.md")).join(" ");
    let documented: BTreeSet<&str> = documented.split_whitespace().collect();
    let missing = names.into_iter().filter(|name| !documented.contains(name.as_str()));
    assert_none("not on the protocol page", &missing.collect::<Vec<_>>());
}

#[test]
fn pages_name_only_existing_dev_commands() {
    let usage = read("xtask/usage.txt");
    let word = |text: &str| text.chars().take_while(char::is_ascii_lowercase).collect::<String>();
    let offered: BTreeSet<String> = usage.split("./dev ").skip(1).map(word).collect();
    let mut broken = Vec::new();
    for page in pages() {
        let named = page.text.split("./dev ").skip(1).map(word).filter(|name| !name.is_empty());
        broken.extend(
            named.filter(|name| !offered.contains(name)).map(|name| format!("{}: ./dev {name}", page.path)),
        );
    }
    assert_none("not a command of ./dev", &broken);
}

#[test]
fn relative_links_have_existing_targets() {
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-")
    };
    let (mut broken, mut links) = (Vec::new(), 0);
    for page in pages() {
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&page.path).parent().unwrap().to_owned();
            let target = if path.is_empty() { PathBuf::from(&page.path) } else { folder.join(path) };
            let there = root().join(&target);
            // The anchors of headings with the same text end with `-1`, `-2` and so on.
            let heads = |text: String| {
                let mut anchors = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                let mut seen = HashMap::<String, usize>::new();
                anchors.any(|anchor| {
                    let count = seen.entry(anchor.clone()).and_modify(|count| *count += 1).or_default();
                    (if *count == 0 { anchor } else { format!("{anchor}-{count}") }) == fragment
                })
            };
            if !there.exists() || !fragment.is_empty() && !fs::read_to_string(there).is_ok_and(heads) {
                broken.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(links > 10, "no links were found");
    assert_none("links without a target", &broken);
}
