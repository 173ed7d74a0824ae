//! Which tests belong to the first size of the gate: all unit tests, the rules of the house, and one proof of each
//! behaviour of the contract. Everything else runs with `./dev test --all`.

use super::Size;

/// The tests of Rust of the first size, as a filter of nextest.
const FIRST: &str = "kind(lib) | kind(bin) | binary(house) | package(xtask) \
    | (package(tidings-harness) & kind(test) & test(/^(conversation|flow_join_and_send)::/))";

/// The folders of tests of the TypeScript packages that start whole systems.
const SYSTEM_TESTS: &str = "**/test-system/**";

/// The flows of the demo in a browser, by file.
const MAIN_FLOWS: [&str; 3] = ["conversation", "rooms", "offline"];

/// The filter of nextest for a size; `None` selects all tests.
pub fn filter(size: Size) -> Option<String> {
    match size {
        Size::First => Some(FIRST.to_owned()),
        Size::All => None,
        Size::Rest => Some(format!("not ({FIRST})")),
    }
}

/// The arguments of Vitest for a script of `clients/` and a size.
pub fn of_clients(script: &str, size: Size) -> Vec<String> {
    let flows = || MAIN_FLOWS.iter().map(|name| format!("test/{name}.test.ts"));
    match (script, size) {
        (_, Size::All) => Vec::new(),
        ("e2e", Size::First) => flows().collect(),
        ("e2e", Size::Rest) => flows().map(|file| format!("--exclude={file}")).collect(),
        (_, Size::First) => vec![format!("--exclude={SYSTEM_TESTS}")],
        (_, Size::Rest) => vec!["test-system".to_owned()],
    }
}
