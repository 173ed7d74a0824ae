//! Which tests belong to the first size of the gate: all unit tests, the rules of the house, and one proof of each
//! behaviour of the contract. Everything else runs with `./dev test --all`.

use super::Size;

/// The tests of Rust of the first size that need no system.
const UNITS: &str = "kind(lib) | kind(bin) | package(xtask) | binary(house)";

/// The behaviours of the contract, by module or test of the harness.
const BEHAVIOURS: [&str; 18] = [
    "conversation::",
    "flow_join_and_send::",
    "membership::",
    "revocation::removed_member_receives_and_sends_nothing_after_removal",
    "visibility::demoted_user_sees_no_own_change_of_hidden_message",
    "receipts::",
    "presence::user_has_one_status_across_devices_and_nodes",
    "presence::quick_reconnect_is_invisible_on_any_node",
    "typing::",
    "http_rooms::",
    "http_history::",
    "search::",
    "files_uploads::",
    "files_downloads::",
    "poll::",
    "stock_conversations::stock_clients_converse_with_each_transport::case_3",
    "faults::random_faults_break_nothing$",
    "readme::",
];

/// Switches off the tests of the TypeScript packages that start whole systems (`clients/ts/vitest.config.ts`).
pub const WITHOUT_SYSTEMS: (&str, &str) = ("TIDINGS_SYSTEM_TESTS", "no");

/// The flows of the demo in a browser, by file.
const MAIN_FLOWS: [&str; 2] = ["conversation", "rooms"];

/// The filter of nextest for a size; `None` selects all tests.
pub fn filter(size: Size) -> Option<String> {
    let behaviours = BEHAVIOURS.join("|");
    let first = format!("{UNITS} | (package(tidings-harness) & kind(test) & test(/^({behaviours})/))");
    match size {
        Size::First => Some(first),
        Size::All => None,
        Size::Rest => Some(format!("not ({first})")),
    }
}

/// The arguments of Vitest for a script of `clients/` and a size.
pub fn of_clients(script: &str, size: Size) -> Vec<String> {
    let flows = || MAIN_FLOWS.iter().map(|name| format!("test/{name}.test.ts"));
    match (script, size) {
        ("e2e", Size::First) => flows().collect(),
        ("e2e", Size::Rest) => flows().map(|file| format!("--exclude={file}")).collect(),
        (_, Size::Rest) => vec!["test-system".to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::BEHAVIOURS;

    /// The source of a module of the harness's tests.
    fn source(module: &str) -> Option<String> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../harness/tests");
        let folders = fs::read_dir(tests).unwrap().flatten().map(|folder| folder.path());
        folders
            .into_iter()
            .find_map(|folder| fs::read_to_string(folder.join(module).with_extension("rs")).ok())
    }

    #[test]
    fn every_behaviour_is_a_module_or_a_test() {
        for behaviour in BEHAVIOURS {
            let (module, test) = behaviour.split_once("::").unwrap();
            let source = source(module).unwrap_or_else(|| panic!("{module} is no module"));
            let test = test.trim_end_matches('$').split("::").next().unwrap_or_default();
            assert!(test.is_empty() || source.contains(&format!("fn {test}(")), "{behaviour} is no test");
        }
    }
}
