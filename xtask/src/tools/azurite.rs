//! Azurite: a server with the protocol of Azure Blob Storage, for the tests of files in a bucket.

use std::fs;
use std::path::PathBuf;

use crate::context::Context;
use crate::process::{Outcome, run};

const PINS: &str = "harness/azurite";
const LOCK: &str = "package-lock.json";

/// The script that Node runs.
pub fn script(context: &Context) -> PathBuf {
    context.tools.join("azurite/node_modules/azurite/dist/src/blob/main.js")
}

/// Installs the packages of the lock file, unless they are there.
///
/// # Errors
/// When npm fails.
pub fn install(context: &Context) -> Outcome {
    let (pins, folder) = (context.root.join(PINS), context.tools.join("azurite"));
    let failed = |error: std::io::Error| format!("azurite: {error}");
    let lock = fs::read(pins.join(LOCK)).map_err(failed)?;
    if fs::read(folder.join("complete")).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(failed)?;
    for name in [".npmrc", "package.json", LOCK] {
        fs::copy(pins.join(name), folder.join(name)).map_err(failed)?;
    }
    run(context.command("npm").args(["ci", "--ignore-scripts", "--no-audit"]).current_dir(&folder))?;
    fs::write(folder.join("complete"), lock).map_err(failed)
}
