//! Rules for files: heads, lengths, names, and no paths of a local machine.

use crate::tree::{assert_none, sources, tree};

/// A longer file must state the reason in its head, after the text of [`LONG_BECAUSE`].
const MAX_FILE_LINES: usize = 350;
const LONG_BECAUSE: &str = "Long because";

#[test]
fn source_files_state_their_purpose_and_reason_for_length() {
    let mut broken = Vec::new();
    for file in sources("") {
        let (head, lines) = (file.head(), file.text.lines().count());
        if head.is_empty() {
            broken.push(format!("{} does not open with //!", file.path));
        }
        if lines > MAX_FILE_LINES && !head.contains(LONG_BECAUSE) {
            broken
                .push(format!("{} has {lines} lines, and its head does not say {LONG_BECAUSE:?}", file.path));
        }
        if file.path.ends_with("/mod.rs") {
            broken.push(format!("{}: name it after its folder, beside it", file.path));
        }
    }
    assert_none("rules for files", &broken);
}

#[test]
fn no_file_names_a_local_machine_path() {
    let machine =
        [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/tmp/", "bash_jobs")];
    let mut broken = Vec::new();
    for file in tree() {
        for (number, line) in file.text.lines().enumerate() {
            let named = machine.iter().filter(|path| line.contains(**path));
            broken.extend(named.map(|path| format!("{}:{} names {path}", file.path, number + 1)));
        }
    }
    assert_none("paths of a local machine", &broken);
}
