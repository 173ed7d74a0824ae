//! Builds the Centrifuge server with Go, from the modules in `bench/peers/centrifuge/go.sum`. Go is optional: without
//! Go or its modules, the bench leaves out Centrifuge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{COMPLETE_MARK, Files, hash_files, install_folder, install_in, run_command};

const GO_SERVER_FILES: Files = &[
    ("go.mod", GO_MOD),
    ("go.sum", include_str!("../../../peers/centrifuge/go.sum")),
    ("main.go", include_str!("../../../peers/centrifuge/main.go")),
    ("conversation.go", include_str!("../../../peers/centrifuge/conversation.go")),
    ("store.go", include_str!("../../../peers/centrifuge/store.go")),
];

const GO_MOD: &str = include_str!("../../../peers/centrifuge/go.mod");
const PROGRAM_NAME: &str = "centrifuge";

/// Returns why the server cannot be built on this machine, or `None` if it can be built. Downloads the Go modules to
/// find out.
///
/// # Errors
/// When files cannot be written.
pub async fn unavailable_reason() -> Result<Option<String>> {
    tokio::task::spawn_blocking(|| {
        if is_built(&install_folder(PROGRAM_NAME)?) {
            return Ok(None);
        }
        let modules = tempfile::tempdir()?;
        for (name, text) in &GO_SERVER_FILES[..2] {
            fs::write(modules.path().join(name), text)?;
        }
        let downloaded = run_command(go_command(modules.path()).args(["mod", "download"]));
        Ok(downloaded.err().map(|error| first_lines(&format!("{error:#}"))))
    })
    .await?
}

/// Shortens an error message of Go to its first lines. Go repeats the message for each module that it cannot download.
fn first_lines(error: &str) -> String {
    let error_lines: Vec<&str> = error.lines().take(2).collect();
    format!("Go or its modules are not available: {}", error_lines.join(" "))
}

/// Builds the server unless it is built already. Returns the path of the program.
///
/// # Errors
/// When the server cannot be built.
pub async fn build_program() -> Result<PathBuf> {
    let build = || {
        install_in(install_folder(PROGRAM_NAME)?, GO_SERVER_FILES, |folder| {
            run_command(go_command(folder).args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-o",
                PROGRAM_NAME,
                ".",
            ]))
            .context("Go could not build the Centrifuge server")
        })
    };
    Ok(tokio::task::spawn_blocking(build).await??.join(PROGRAM_NAME))
}

/// The versions of Go and of the required modules. Empty if the server is not built.
#[must_use]
pub fn versions() -> BTreeMap<String, String> {
    if !install_folder(PROGRAM_NAME).is_ok_and(|folder| is_built(&folder)) {
        return BTreeMap::new();
    }
    let go = run_command(Command::new("go").arg("version")).ok().map(|version| ("Go".to_owned(), version));
    let modules = required_modules().map(|(name, version)| (format!("{name} (Go)"), version.to_owned()));
    modules.chain(go).collect()
}

/// The names and versions of the directly required modules. `go.sum` fixes the versions of their dependencies.
fn required_modules() -> impl Iterator<Item = (&'static str, &'static str)> {
    let required = GO_MOD.lines().filter(|line| !line.ends_with("// indirect"));
    required.filter_map(|line| line.strip_prefix('\t')?.split_once(' '))
}

fn is_built(folder: &Path) -> bool {
    fs::read_to_string(folder.join(COMPLETE_MARK)).is_ok_and(|made| made == hash_files(GO_SERVER_FILES))
}

/// A `go` command in this folder. It needs no C compiler, and downloads no other version of Go.
fn go_command(folder: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off")]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_modules_have_versions_and_sums() {
        let modules: Vec<_> = required_modules().collect();
        assert!(modules.iter().any(|(name, _)| name.ends_with("/centrifuge")), "{modules:?}");
        for (name, version) in modules {
            assert!(GO_SERVER_FILES[1].1.contains(&format!("{name} {version} h1:")), "{name} {version}");
        }
    }
}
