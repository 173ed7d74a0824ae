//! Builds the Centrifuge server with Go, from the modules of `bench/peers/centrifuge/go.sum`. Go is optional: where Go or
//! its modules are missing, the bench measures the other servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Files, STAMP, folder, hash, install_in, output};

const FILES: Files = &[
    ("go.mod", GO_MOD),
    ("go.sum", include_str!("../../../peers/centrifuge/go.sum")),
    ("main.go", include_str!("../../../peers/centrifuge/main.go")),
    ("conversation.go", include_str!("../../../peers/centrifuge/conversation.go")),
    ("store.go", include_str!("../../../peers/centrifuge/store.go")),
];

const GO_MOD: &str = include_str!("../../../peers/centrifuge/go.mod");
const PROGRAM: &str = "centrifuge";

/// Why the server cannot be built on this machine, or `None` if it can. Then an error of [`program`] is a defect.
///
/// # Errors
/// When files cannot be written.
pub async fn unavailable() -> Result<Option<String>> {
    tokio::task::spawn_blocking(|| {
        if is_built(&folder(PROGRAM)?) {
            return Ok(None);
        }
        let modules = tempfile::tempdir()?;
        for (name, text) in &FILES[..2] {
            fs::write(modules.path().join(name), text)?;
        }
        let downloaded = output(go(modules.path()).args(["mod", "download"]));
        Ok(downloaded.err().map(|error| reason(&format!("{error:#}"))))
    })
    .await?
}

/// One line. Go reports each module that it cannot download, and the first one is enough.
fn reason(error: &str) -> String {
    let said: Vec<&str> = error.lines().take(2).collect();
    format!("Go or its modules cannot be had: {}", said.join(" "))
}

/// Builds the server if needed; returns the program.
///
/// # Errors
/// When it cannot be built.
pub async fn program() -> Result<PathBuf> {
    let build = || {
        install_in(folder(PROGRAM)?, FILES, |folder| {
            output(go(folder).args(["build", "-trimpath", "-buildvcs=false", "-o", PROGRAM, "."]))
                .context("Go could not build the Centrifuge server")
        })
    };
    Ok(tokio::task::spawn_blocking(build).await??.join(PROGRAM))
}

/// The versions of Go and of the required modules, if the server is built.
#[must_use]
pub fn versions() -> BTreeMap<String, String> {
    if !folder(PROGRAM).is_ok_and(|folder| is_built(&folder)) {
        return BTreeMap::new();
    }
    let go = output(Command::new("go").arg("version")).ok().map(|version| ("Go".to_owned(), version));
    let modules = modules().map(|(name, version)| (format!("{name} (Go)"), version.to_owned()));
    modules.chain(go).collect()
}

/// The required modules and their versions. `go.sum` fixes theirs.
fn modules() -> impl Iterator<Item = (&'static str, &'static str)> {
    let required = GO_MOD.lines().filter(|line| !line.ends_with("// indirect"));
    required.filter_map(|line| line.strip_prefix('\t')?.split_once(' '))
}

fn is_built(folder: &Path) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|made| made == hash(FILES))
}

/// Go in a folder, without a C compiler and without a download of another version of Go.
fn go(folder: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off")]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_modules_have_versions_and_sums() {
        let modules: Vec<_> = modules().collect();
        assert!(modules.iter().any(|(name, _)| name.ends_with("/centrifuge")), "{modules:?}");
        for (name, version) in modules {
            assert!(FILES[1].1.contains(&format!("{name} {version} h1:")), "{name} {version}");
        }
    }
}
