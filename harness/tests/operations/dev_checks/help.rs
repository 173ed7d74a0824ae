//! Help of `./dev`, which builds and starts nothing.

use std::process::Command;

use super::DryRun;

#[rstest::rstest]
#[case::its_output_is_read("./dev up --help")]
#[case::its_output_cannot_be_written("./dev up --help >/dev/full")]
#[case::its_output_is_closed("./dev up -h >&-")]
#[case::nobody_reads_its_output("./dev up --detach --help | true")]
#[case::it_comes_last("./dev e2e a_name --browser firefox --help >/dev/full")]
#[case::its_command_is_unknown("./dev nonsense --help")]
fn help_builds_and_starts_nothing(#[case] line: &str) {
    let dry_run = DryRun::new();
    let folder = dry_run.0.path();
    Command::new("bash")
        .args(["-c", line])
        .current_dir(folder)
        .env("CARGO_HOME", folder.join("cargo"))
        .env("TIDINGS_DEV_DIR", folder.join(".dev"))
        .env("ASKED", folder.join("asked"))
        .env("FAILING", "build")
        .env_remove("TIDINGS_BIN_DIR")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let asked = std::fs::read_to_string(folder.join("asked")).unwrap_or_default();
    assert_eq!(asked, "", "{line} called these programs");
}
