//! The gate of CI, `.ci/run`, with a stub of `./dev` that only says something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Whether the gate is green if `./dev test` says `said` on stderr, and its tests append `noted` to the log.
fn is_green(said: &str, noted: &str) -> bool {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join(".ci/run");
    fs::create_dir(folder.path().join(".ci")).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/run"), &script).unwrap();
    let dev = folder.path().join("dev");
    fs::write(
        &dev,
        "#!/bin/sh\necho \"$SAID\" >&2\n[ -z \"$NOTED\" ] || echo \"$NOTED\" >>\"$TIDINGS_GATE_LOG\"\n",
    )
    .unwrap();
    fs::set_permissions(&dev, fs::Permissions::from_mode(0o755)).unwrap();
    let mut gate = Command::new("bash");
    gate.arg(&script)
        .env("SAID", said)
        .env("NOTED", noted)
        .env("CARGO_TARGET_DIR", folder.path().join("target"));
    gate.stdin(Stdio::null()).output().unwrap().status.success()
}

#[test]
fn gate_is_red_when_something_is_not_checked() {
    assert!(is_green("all is well", ""));
    assert!(is_green("advisories: NOT CHECKED (the database cannot be downloaded)", ""));
    assert!(!is_green("shellcheck: NOT CHECKED (neither shellcheck nor pip is available)", ""));
    assert!(!is_green("dependencies: NOT CHECKED (cargo-deny is not installed)", ""));
    assert!(!is_green("all is well", "NOT CHECKED: Helm is missing and cannot be installed"));
}
