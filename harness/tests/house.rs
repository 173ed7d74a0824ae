//! The rules of the house, held against the sources and the pages themselves: who may import and name what, what is
//! pure, how files begin, and that the documents say what the code does. Reads the tree, starts nothing.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files say in their head why; the words that say so.
const LONG_FILE_LINES: usize = 350;
const LONG_BECAUSE: &str = "Long because";

struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }

    fn head(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
    }

    /// What the program does: no comments, no tests.
    fn code(&self) -> String {
        if self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let program = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        program.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file that is not ignored.
fn tree() -> Vec<File> {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_end_matches('/')).chain([".git"]).collect();
    let (mut folders, mut files) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if ignored.iter().any(|name| entry.file_name() == **name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push(File { path, text });
            }
        }
    }
    assert!(files.len() > 100, "the tree was not found");
    files
}

fn sources(place: &str) -> Vec<File> {
    tree().into_iter().filter(|file| file.path.ends_with(".rs") && file.path.starts_with(place)).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn pages() -> Vec<File> {
    tree().into_iter().filter(|file| file.path.ends_with(".md")).collect()
}

/// The text of a page's section, up to the next heading of its own or a higher level.
fn section(page: &str, heading: &str) -> String {
    let text = read(page);
    let level = heading.chars().take_while(|c| *c == '#').count();
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{page} has no section {heading:?}");
    let ends = |line: &&str| (1..=level).any(|n| line.starts_with(&format!("{} ", "#".repeat(n))));
    lines.take_while(|line| !ends(line)).collect::<Vec<_>>().join("\n")
}

/// What stands between backticks, outside fenced code.
fn quoted(text: &str) -> Vec<String> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2)).map(ToOwned::to_owned).collect()
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn the_crates_import_each_other_only_as_the_architecture_says() {
    let rules: &[(&str, &[&str], &[&str])] = &[
        ("shared", &[], &["sea-orm", "sea-orm-migration", "sqlx"]),
        ("gateway", &["tidings-shared"], &["sea-orm", "sea-orm-migration", "sqlx"]),
        ("persistence", &["tidings-shared"], &[]),
        ("migrations", &[], &["redis"]),
        ("harness", &["tidings-shared"], &[]),
    ];
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(members, rules.iter().map(|(member, ..)| *member).collect(), "a crate without a rule");
    let mut broken = Vec::new();
    for (member, allowed, forbidden) in rules {
        let manifest = read(&format!("{member}/Cargo.toml"));
        let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
        for dependency in manifest.lines().skip_while(|line| !line.contains("dependencies]")).map(name) {
            let ours = dependency.starts_with("tidings-") && !allowed.contains(&dependency.as_str());
            if ours || forbidden.contains(&dependency.as_str()) {
                broken.push(format!("{member} imports {dependency}"));
            }
        }
    }
    assert_none("imports", &broken);
}

#[test]
fn only_the_modules_made_for_it_speak_redis_read_streams_or_speak_sql() {
    const SQL: &[&str] = &[
        "_raw(",
        "_unprepared(",
        "EntityTrait",
        "ActiveModel",
        "\"SELECT ",
        "\"INSERT ",
        "\"UPDATE ",
        "\"DELETE ",
        "\"WITH ",
    ];
    let rules: &[(&str, &[&str], &[&str])] = &[
        ("shared/src/", &["redis::"], &["shared/src/log/", "shared/src/membership.rs"]),
        ("gateway/src/", &["redis::"], &["gateway/src/bus.rs", "gateway/src/bus/"]),
        ("gateway/src/", &["sea_orm", "sqlx"], &[]),
        (
            "persistence/src/",
            &["redis::"],
            &["persistence/src/authority.rs", "persistence/src/ingest.rs", "persistence/src/ingest/"],
        ),
        ("persistence/src/", &["XREAD"], &["persistence/src/ingest/"]),
        (
            "persistence/src/",
            SQL,
            &["persistence/src/writer/", "persistence/src/query/", "persistence/src/entity/"],
        ),
    ];
    let mut broken = Vec::new();
    for (place, words, allowed) in rules {
        let mut used = false;
        for file in sources(place) {
            let code = file.code();
            let named = words.iter().filter(|word| code.contains(**word));
            if file.is_in(allowed) {
                used |= named.count() > 0;
            } else {
                broken.extend(named.map(|word| format!("{} names {word:?}", file.path)));
            }
        }
        assert!(used || allowed.is_empty(), "{allowed:?} name none of {words:?}: the rule looks at nothing");
    }
    assert_none("not their business", &broken);
}

#[test]
fn pure_modules_do_no_io_and_ask_no_clock() {
    const PURE: &[&str] = &[
        "gateway/src/hub.rs",
        "gateway/src/hub/",
        "gateway/src/command.rs",
        "gateway/src/command/",
        "gateway/src/transport/decoder.rs",
        "gateway/src/transport/frame.rs",
        "gateway/src/transport/handshake.rs",
        "gateway/src/transport/header.rs",
        "gateway/src/transport/outbox.rs",
        "gateway/src/transport/wheel.rs",
        "persistence/src/authority/plan.rs",
        "persistence/src/ingest/batch.rs",
        "persistence/src/ingest/batch/",
        "persistence/src/ingest/holdings.rs",
        "persistence/src/query/cursor.rs",
        "shared/src/log/record.rs",
        "shared/src/log/tail.rs",
        "shared/src/message.rs",
        "shared/src/protocol/",
    ];
    const IMPURE: &[&str] = &[
        ".await",
        "async fn",
        "tokio::",
        "redis::",
        "sea_orm",
        "sqlx",
        "reqwest",
        "actix_web",
        "std::fs",
        "TcpStream",
        "SystemTime",
        "Instant::now",
        "Utc::now",
        "now_v7",
        "rand::",
        "thread::",
    ];
    let sources = sources("");
    let mut broken = Vec::new();
    for place in PURE {
        let files: Vec<&File> = sources.iter().filter(|file| file.is_in(&[place])).collect();
        assert!(!files.is_empty(), "{place} is not there");
        for file in files {
            let code = file.code();
            let named = IMPURE.iter().filter(|word| code.contains(**word));
            broken.extend(named.map(|word| format!("{} names {word:?}", file.path)));
        }
    }
    assert_none("not pure", &broken);
}

#[test]
fn the_map_names_only_what_is_there_and_every_crate() {
    let map = quoted(&section("docs/ARCHITECTURE.md", "## The map"));
    let places: Vec<&String> =
        map.iter().filter(|name| name.ends_with('/') || name.contains(".rs")).collect();
    let gone = places.iter().filter(|place| !root().join(place).exists()).map(ToString::to_string);
    assert_none("named in the map and not there", &gone.collect::<Vec<_>>());
    for member in ["shared/", "gateway/", "persistence/", "migrations/", "harness/", "docs/"] {
        assert!(places.iter().any(|place| *place == member), "the map leaves out {member}");
    }
}

#[test]
fn the_metrics_tables_list_exactly_what_is_declared() {
    for (service, heading) in [("gateway", "### Gateway metrics"), ("persistence", "### Persistence metrics")]
    {
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
        assert!(declared.len() > 10, "{service}: the declarations were not understood");
        let section = section("docs/OPERATIONS.md", heading);
        let told: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(told, declared, "{service}: the table must be\n{}", declared.join("\n"));
    }
}

#[test]
fn the_settings_tables_list_exactly_the_flags_that_are_taken() {
    for (path, heading) in [
        ("shared/src/config.rs", "### Both services"),
        ("gateway/src/config.rs", "### Gateway settings"),
        ("persistence/src/config.rs", "### Persistence settings"),
    ] {
        let text = read(path);
        let mut declared = BTreeSet::new();
        for attribute in text.split("#[arg(long, env = \"").skip(1) {
            let (env, rest) = attribute.split_once('"').unwrap();
            let (options, field) = rest.split_once(")]\n    pub ").unwrap();
            let flag = field.split(':').next().unwrap().replace('_', "-");
            let default = ["default_value_t = ", "default_value = \""].iter().find_map(|key| {
                let value = options.split_once(key)?.1.split(['"', ',']).next()?;
                Some(value.trim_end_matches(')').replace('_', ""))
            });
            declared.insert((
                format!("`--{flag}`"),
                format!("`{env}`"),
                default.filter(|text| !text.is_empty()),
            ));
        }
        let table = section("docs/OPERATIONS.md", heading);
        let mut told = BTreeSet::new();
        for row in table.lines().filter(|line| line.starts_with("| `--")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let default = cells[3].strip_prefix('`').and_then(|cell| cell.split('`').next());
            told.insert((cells[1].to_owned(), cells[2].to_owned(), default.map(ToOwned::to_owned)));
        }
        assert_eq!(told, declared, "{heading}");
    }
}

#[test]
fn the_protocol_page_names_every_frame_code_reason_and_route() {
    let between = |path: &str, from: &str, to: &str| {
        let text = read(path);
        let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{path} has no {from:?}"));
        rest.split_once(to).unwrap().0.to_owned()
    };
    let strings = |text: &str| text.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    let mut names = Vec::new();
    let commands = between("shared/src/protocol/client.rs", "impl Command {", "\n}");
    names.extend(strings(&commands));
    names.extend(strings(&between("shared/src/auth.rs", "pub fn as_str", "\n    }")));
    names.extend(strings(&between("shared/src/error.rs", "pub fn as_str", "\n    }")));
    let frames = read("shared/src/protocol/server.rs");
    names.extend(
        frames
            .split("    #[serde(rename = \"")
            .skip(1)
            .filter(|rest| !rest.starts_with("ref"))
            .map(|rest| rest.split('"').next().unwrap().to_owned()),
    );
    let codes = between("shared/src/protocol/close.rs", "pub enum CloseCode {", "\n}");
    names.extend(
        codes.lines().filter_map(|line| Some(line.split_once("= ")?.1.trim_end_matches(',').to_owned())),
    );
    let routes = read("persistence/src/http.rs");
    let route = |text: &str| {
        text.trim_start().strip_prefix('"').and_then(|t| t.split('"').next()).map(ToOwned::to_owned)
    };
    names.extend(routes.split("resource(").filter_map(route).filter(|path| path.starts_with('/')));
    assert!(names.len() > 50, "only {} names were found", names.len());
    let page = read("docs/PROTOCOL.md");
    let told = quoted(&page).join(" ");
    let untold = names.into_iter().filter(|name| !told.contains(name.as_str()));
    assert_none("not on the protocol page", &untold.collect::<Vec<_>>());
}

#[test]
fn commands_of_the_developer_script_are_named_as_they_are() {
    let script = read("dev");
    let usage = script.split("TEXT").nth(1).unwrap();
    let word = |text: &str| text.chars().take_while(char::is_ascii_lowercase).collect::<String>();
    let offered: BTreeSet<String> = usage.split("./dev ").skip(1).map(word).collect();
    let mut broken = Vec::new();
    for page in pages() {
        let named = page.text.split("./dev ").skip(1).map(word).filter(|name| !name.is_empty());
        broken.extend(
            named.filter(|name| !offered.contains(name)).map(|name| format!("{}: ./dev {name}", page.path)),
        );
    }
    assert_none("not offered by ./dev", &broken);
}

#[test]
fn relative_links_lead_somewhere() {
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
            let heads =
                |text: String| text.lines().any(|line| line.starts_with('#') && anchor(line) == fragment);
            if !there.exists() || !fragment.is_empty() && !fs::read_to_string(there).is_ok_and(heads) {
                broken.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(links > 10, "no links were found");
    assert_none("links to nothing", &broken);
}

#[test]
fn every_source_file_opens_with_what_it_is_for_and_long_ones_with_why() {
    let mut broken = Vec::new();
    for file in sources("") {
        let (head, lines) = (file.head(), file.text.lines().count());
        if head.is_empty() {
            broken.push(format!("{} does not open with //!", file.path));
        }
        if lines > LONG_FILE_LINES && !head.contains(LONG_BECAUSE) {
            broken
                .push(format!("{} has {lines} lines, and its head does not say {LONG_BECAUSE:?}", file.path));
        }
        if file.path.ends_with("/mod.rs") {
            broken.push(format!("{}: name it after its folder, beside it", file.path));
        }
    }
    assert_none("how files are kept", &broken);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let machine =
        [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/tmp/", "bash_jobs")];
    let mut broken = Vec::new();
    for file in tree() {
        for (number, line) in file.text.lines().enumerate() {
            let named = machine.iter().filter(|path| line.contains(**path));
            broken.extend(named.map(|path| format!("{}:{} names {path}", file.path, number + 1)));
        }
    }
    assert_none("paths of a machine", &broken);
}
