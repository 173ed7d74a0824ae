//! Help of `./dev`, which builds and starts nothing.

use std::process::{Command, Stdio};

use super::DryRun;

#[rstest::rstest]
#[case::its_output_is_read("./dev up --help")]
#[case::its_output_cannot_be_written("./dev up --help >/dev/full")]
#[case::its_output_is_closed("./dev up -h >&-")]
#[case::nobody_reads_its_output("./dev up --detach --help | true")]
#[case::it_comes_last("./dev e2e a_name --browser firefox --help >/dev/full")]
#[case::its_command_is_unknown("./dev nonsense --help")]
#[case::all_commands("./dev")]
fn help_builds_and_starts_nothing(#[case] line: &str) {
    let dry_run = DryRun::new();
    let folder = dry_run.path();
    // Without its program the script could only build it.
    std::fs::remove_file(folder.join("target/xtask/debug/xtask")).unwrap();
    Command::new("bash")
        .args(["-c", line])
        .current_dir(folder)
        .env("CARGO_HOME", folder.join("cargo"))
        .env("TIDINGS_DEV_DIR", folder.join(".dev"))
        .env("ASKED", folder.join("asked"))
        .env("FAILING", "build")
        .env_remove("TIDINGS_BIN_DIR")
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let asked = std::fs::read_to_string(folder.join("asked")).unwrap_or_default();
    assert_eq!(asked, "", "{line} called these programs");
}

#[test]
fn program_is_built_when_it_is_older_than_its_sources() {
    let dry_run = DryRun::new();
    std::fs::remove_file(dry_run.path().join("target/xtask/debug/xtask")).unwrap();
    let outcome = dry_run.run("status", &[]);
    assert_eq!((outcome.code != 0, outcome.calls.as_str()), (true, "build"));
}
