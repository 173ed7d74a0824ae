//! The programs beside the services that `./dev up` builds: those that `--with` names, or those of the last time.

use std::fs;
use std::path::Path;

use crate::build::COMPANIONS;

/// The programs to build for `./dev up` with these arguments. `state` is the folder of `./dev`.
pub fn wanted(arguments: &[String], state: &Path) -> Vec<String> {
    let named = named(arguments);
    let remembered = fs::read_to_string(state.join("state.json")).unwrap_or_default();
    let is_wanted = |name: &str| match &named {
        Some(names) => names.split(',').any(|named| named.trim() == name),
        None => remembered.contains(&format!("\"{name}\": {{")),
    };
    COMPANIONS.iter().filter(|name| is_wanted(name)).map(|name| format!("tidings-{name}")).collect()
}

/// The value of the last `--with`.
fn named(arguments: &[String]) -> Option<&str> {
    let separate = arguments.windows(2).filter(|pair| pair[0] == "--with").map(|pair| pair[1].as_str());
    let joined = arguments.iter().filter_map(|argument| argument.strip_prefix("--with="));
    separate.chain(joined).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::named(&["--with", "files, push"], &["tidings-files", "tidings-push"])]
    #[case::joined(&["--with=webhooks"], &["tidings-webhooks"])]
    #[case::none(&["--with", "none"], &[])]
    #[case::remembered(&["--detach"], &["tidings-push"])]
    fn companions_are_named_or_remembered(#[case] arguments: &[&str], #[case] expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state.json"), r#"{"companions": {"push": {}}}"#).unwrap();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        assert_eq!(wanted(&arguments, folder.path()), expected);
    }
}
