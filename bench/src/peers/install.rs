//! Installs the other servers once, into folders below `bench` in `TIDINGS_DEV_DIR` or `.dev`. This module installs the
//! Node.js servers with npm; the module `centrifuge` builds the Centrifuge server with Go. The source files are part of
//! this program, so it works from any folder. `harness/npmrc` and `go.sum` fix all versions.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha1::{Digest, Sha1};

pub mod centrifuge;

/// The names and texts of the files of the Node.js servers.
const NODE_SERVER_FILES: Files = &[
    (".npmrc", include_str!("../../../harness/npmrc")),
    ("package.json", include_str!("../../peers/package.json")),
    ("serve.mjs", include_str!("../../peers/serve.mjs")),
    ("socketio.mjs", include_str!("../../peers/socketio.mjs")),
    ("store.mjs", include_str!("../../peers/store.mjs")),
    ("ws.mjs", include_str!("../../peers/ws.mjs")),
];

type Files = &'static [(&'static str, &'static str)];

const MIN_NODE_MAJOR_VERSION: u32 = 20;

/// The file that marks a complete installation. It contains the hash of the installed files.
const COMPLETE_MARK: &str = "installed";

/// Installs the Node.js servers unless they are installed already. Returns their folder.
///
/// # Errors
/// When Node.js 20 or npm is missing, or the packages cannot be downloaded.
pub async fn install_node_servers() -> Result<PathBuf> {
    let install = || {
        node_version()?;
        install_in(install_folder("peers")?, NODE_SERVER_FILES, |folder| {
            // npm would keep versions of an earlier installation.
            let _ = fs::remove_dir_all(folder.join("node_modules"));
            run_command(Command::new("npm").arg("install").current_dir(folder))
                .context("npm could not install the packages of the other servers")
        })
    };
    tokio::task::spawn_blocking(install).await?
}

/// The folder of the Node.js servers, if they are installed.
#[must_use]
pub fn installed_folder() -> Option<PathBuf> {
    install_folder("peers").ok().filter(|folder| folder.join(COMPLETE_MARK).exists())
}

/// The version of the Node.js that runs the servers, such as `20.20.2`.
///
/// # Errors
/// When Node.js is missing or too old.
pub fn node_version() -> Result<String> {
    let version = run_command(Command::new("node").args(["-p", "process.versions.node"]))
        .with_context(|| format!("Node.js {MIN_NODE_MAJOR_VERSION} or later is needed on the path"))?;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= MIN_NODE_MAJOR_VERSION),
        "Node.js {MIN_NODE_MAJOR_VERSION} or later is needed on the path, this is {version}"
    );
    Ok(version)
}

fn install_folder(name: &str) -> Result<PathBuf> {
    let dev = std::env::var_os("TIDINGS_DEV_DIR").unwrap_or_else(|| OsString::from(".dev"));
    Ok(std::path::absolute(dev)?.join("bench").join(name))
}

/// Writes these files into a folder and calls `make`, which installs or builds the server there. Does nothing if the
/// same files are installed already.
fn install_in(folder: PathBuf, files: Files, make: impl FnOnce(&Path) -> Result<String>) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // Another process may be installing. Closing the file releases the lock.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("wait for another installation")?;
    let wanted = hash_files(files);
    let stamp = folder.join(COMPLETE_MARK);
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

fn hash_files(files: Files) -> String {
    let mut hash = Sha1::new();
    for (name, text) in files {
        hash.update(format!("{name}\0{text}\0"));
    }
    format!("{:x}", hash.finalize())
}

/// Runs a program to its end. Returns its output without leading and trailing white space.
fn run_command(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        bail!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
