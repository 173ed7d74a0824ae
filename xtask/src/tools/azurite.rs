//! Azurite: a server with the protocol of Azure Blob Storage, for the tests of files in a bucket.

use std::fs;
use std::path::PathBuf;

use crate::context::Context;
use crate::process::{Outcome, run};

const PINS: &str = "harness/azurite/package.json";
const NPM_SETTINGS: &str = "harness/npmrc";

/// The script that Node runs.
pub fn script(context: &Context) -> PathBuf {
    context.tools.join("azurite/node_modules/azurite/dist/src/blob/main.js")
}

/// Installs the pinned version, unless it is there.
///
/// # Errors
/// When npm fails.
pub fn install(context: &Context) -> Outcome {
    let folder = context.tools.join("azurite");
    let failed = |error: std::io::Error| format!("azurite: {error}");
    let read = |path: &str| fs::read_to_string(context.root.join(path)).map_err(failed);
    let (settings, pins) = (read(NPM_SETTINGS)?, read(PINS)?);
    let wanted = format!("{settings}{pins}");
    if fs::read_to_string(folder.join("complete")).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(failed)?;
    fs::write(folder.join(".npmrc"), settings).map_err(failed)?;
    fs::write(folder.join("package.json"), pins).map_err(failed)?;
    run(context.command("npm").args(["install", "--ignore-scripts"]).current_dir(&folder))?;
    fs::write(folder.join("complete"), wanted).map_err(failed)
}
