//! Installs the other servers once, into folders of `bench` in `TIDINGS_DEV_DIR` or `.dev`: the Node.js servers with npm
//! here, Centrifuge with Go in a module of its own. Their files are part of this program, so that it works from any
//! folder. Lock files fix all versions.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha1::{Digest, Sha1};

pub mod centrifuge;

/// The installed files of the Node.js servers: names and texts.
const FILES: Files = &[
    (".npmrc", include_str!("../../peers/.npmrc")),
    ("package.json", include_str!("../../peers/package.json")),
    ("package-lock.json", include_str!("../../peers/package-lock.json")),
    ("serve.mjs", include_str!("../../peers/serve.mjs")),
    ("socketio.mjs", include_str!("../../peers/socketio.mjs")),
    ("store.mjs", include_str!("../../peers/store.mjs")),
    ("ws.mjs", include_str!("../../peers/ws.mjs")),
];

type Files = &'static [(&'static str, &'static str)];

const OLDEST_NODE: u32 = 20;

/// File that marks a complete installation, with the hash of its files.
const STAMP: &str = "installed";

/// Installs the Node.js servers if needed; returns their folder.
///
/// # Errors
/// When Node.js 20 or npm is missing, or the packages cannot be downloaded.
pub async fn installed() -> Result<PathBuf> {
    let install = || {
        node_version()?;
        install_in(folder("peers")?, FILES, |folder| {
            output(Command::new("npm").args(["ci", "--omit=dev"]).current_dir(folder))
                .context("npm could not install what the other servers are made of")
        })
    };
    tokio::task::spawn_blocking(install).await?
}

/// The folder of the Node.js servers, if they are installed.
#[must_use]
pub fn present() -> Option<PathBuf> {
    folder("peers").ok().filter(|folder| folder.join(STAMP).exists())
}

/// The version of Node.js that the servers run on, such as `20.20.2`.
///
/// # Errors
/// When there is none, or one that is too old.
pub fn node_version() -> Result<String> {
    let version = output(Command::new("node").args(["-p", "process.versions.node"]))
        .with_context(|| format!("Node.js {OLDEST_NODE} or later is needed on the path"))?;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= OLDEST_NODE),
        "Node.js {OLDEST_NODE} or later is needed on the path, this is {version}"
    );
    Ok(version)
}

/// The required versions of packages, by name. The lock file fixes their dependencies.
#[must_use]
pub fn packages() -> Vec<(String, String)> {
    let manifest: serde_json::Value =
        serde_json::from_str(include_str!("../../peers/package.json")).expect("a test reads it");
    let kinds =
        ["dependencies", "optionalDependencies"].into_iter().filter_map(|kind| manifest[kind].as_object());
    let version = |version: &serde_json::Value| version.as_str().unwrap_or_default().to_owned();
    kinds.flatten().map(|(name, value)| (name.clone(), version(value))).collect()
}

fn folder(name: &str) -> Result<PathBuf> {
    let dev = std::env::var_os("TIDINGS_DEV_DIR").unwrap_or_else(|| OsString::from(".dev"));
    Ok(std::path::absolute(dev)?.join("bench").join(name))
}

/// Writes these files into a folder and makes a server of them, unless that was done before.
fn install_in(folder: PathBuf, files: Files, make: impl FnOnce(&Path) -> Result<String>) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // Another process may install at the same time. Closing the file releases the lock.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("wait for whoever installs")?;
    let wanted = hash(files);
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(folder);
    }
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    make(&folder)?;
    fs::write(&stamp, wanted)?;
    Ok(folder)
}

fn hash(files: Files) -> String {
    let mut hash = Sha1::new();
    for (name, text) in files {
        hash.update(format!("{name}\0{text}\0"));
    }
    format!("{:x}", hash.finalize())
}

/// What a program prints, without the line feed.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        bail!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_exact_versions_and_the_lock_no_registry() {
        let packages = packages();
        assert!(packages.iter().any(|(name, _)| name == "socket.io"));
        for (name, version) in packages {
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{name} {version}");
        }
        for (name, text) in FILES {
            assert!(!text.contains("\"resolved\"") && !text.contains("registry="), "{name}");
        }
    }
}
