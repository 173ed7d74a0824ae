//! The tables of settings on the operations page equal the output of the programs. Runs the programs.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use tidings_harness::node::program;

use crate::tree::{read, root};

const OPERATIONS_PAGE: &str = "docs/OPERATIONS.md";
const WRITE_VARIABLE: &str = "TIDINGS_WRITE_SETTINGS";
const TABLE_HEAD: &str = "| flag | variable | default | unit | meaning |\n| --- | --- | --- | --- | --- |\n";

fn settings(name: &str) -> Vec<Value> {
    let output = Command::new(program(name).unwrap()).args(["settings", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn table_row(setting: &Value) -> String {
    let cell = |name: &str| setting[name].as_str().unwrap().to_owned();
    let words: Vec<String> = cell("meaning").split(' ').map(link_page_name).collect();
    let (flag, variable, default, unit) = (cell("flag"), cell("variable"), cell("default"), cell("unit"));
    format!("| `{flag}` | `{variable}` | {default} | {unit} | {} |", words.join(" "))
}

/// Turns the name of a page into a link from the operations page.
fn link_page_name(word: &str) -> String {
    let Some(target) = word.strip_prefix("docs/") else { return word.to_owned() };
    match target.split_once(".md#") {
        Some(("OPERATIONS", anchor)) => format!("[below](#{anchor})"),
        _ => format!("[{target}]({target})"),
    }
}

#[test]
fn settings_tables_equal_program_output() {
    let (gateway, persistence) = (settings("tidings-gateway"), settings("tidings-persistence"));
    let (both, gateways): (Vec<&Value>, Vec<&Value>) =
        gateway.iter().partition(|it| persistence.contains(it));
    let persistences = persistence.iter().filter(|it| !gateway.contains(it)).collect();
    assert!(both.len() > 10 && gateways.len() > 10, "the programs print too few settings");
    let (probe, webhooks) = (settings("tidings-probe"), settings("tidings-webhooks"));
    let files = settings("tidings-files");
    let push = settings("tidings-push");
    let mut page = read(OPERATIONS_PAGE);
    for (heading, settings) in [
        ("### Both services\n", both),
        ("### Gateway settings\n", gateways),
        ("### Persistence settings\n", persistences),
        ("### Settings of the probe\n", probe.iter().collect()),
        ("### Settings of the webhooks\n", webhooks.iter().collect()),
        ("### Settings of the files\n", files.iter().collect()),
        ("### Settings of push\n", push.iter().collect()),
    ] {
        let rows: Vec<String> = settings.into_iter().map(table_row).collect();
        let begin = page.find(heading).unwrap_or_else(|| panic!("{OPERATIONS_PAGE} has no {heading:?}"))
            + heading.len();
        let begin = begin + page[begin..].find("| flag |").unwrap();
        let end = begin + page[begin..].find("\n\n").unwrap();
        page.replace_range(begin..end, &format!("{TABLE_HEAD}{}", rows.join("\n")));
    }
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(root().join(OPERATIONS_PAGE), &page).unwrap();
    }
    assert!(
        read(OPERATIONS_PAGE) == page,
        "rewrite the page: {WRITE_VARIABLE}=1 cargo test -p tidings-harness --test house settings"
    );
}

#[test]
fn settings_have_unit_meaning_and_matching_variable() {
    let (mut names, mut names_of_both) = (BTreeSet::new(), BTreeSet::new());
    for setting in settings("tidings-gateway").into_iter().chain(settings("tidings-persistence")) {
        let cell = |name: &str| setting[name].as_str().unwrap().to_owned();
        let (flag, variable, unit) = (cell("flag"), cell("variable"), cell("unit"));
        let named = flag.trim_start_matches("--").replace('-', "_").to_uppercase();
        assert!(!cell("meaning").is_empty() && !unit.is_empty(), "{setting}");
        assert_ne!(unit, named.to_lowercase().replace('_', " "), "{flag} has no unit: give it a value_name");
        assert!(
            [&named, &format!("TIDINGS_{named}"), &format!("TIDINGS_{named}S")].contains(&&variable),
            "{flag}"
        );
        if !names.insert(variable.clone()) {
            names_of_both.insert(variable);
        }
    }
    // With this list, each service accepts the variables that only the other service uses, so one file can serve both.
    let names_of_one = names.difference(&names_of_both).filter(|it| it.starts_with("TIDINGS_"));
    assert_eq!(names_of_one.collect::<Vec<_>>(), tidings_shared::config::ONE_SERVICE_VARIABLES);
}
