//! `./dev guard`: counts the instructions of the hot paths, and compares them with `bench/guard.json`.

use std::process::{Command, ExitCode};

use crate::context::Context;
use crate::process::{Outcome, run, say};
use crate::{build, packages, tools};

/// `tidings-guard` exits with this code when valgrind does not run on this machine.
const CANNOT_COUNT: i32 = 3;

/// The command.
///
/// # Errors
/// When something cannot be built, or a path costs more.
pub fn command(context: &mut Context, arguments: &[String]) -> Result<ExitCode, String> {
    packages::need_servers(context)?;
    if !tools::has_valgrind(context) {
        return Err("please install: valgrind".to_owned());
    }
    let rest: Vec<&String> = arguments.iter().filter(|argument| *argument != "--no-build").collect();
    if rest.len() == arguments.len() && context.programs.is_none() {
        let mut own = context.command("cargo");
        own.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
        run(own.args(["build", "--workspace", "--example", "echo", "--bin", "tidings-guard"]))?;
        build::guard(context)?;
    }
    count(guard(context).args(rest))?;
    Ok(ExitCode::SUCCESS)
}

/// Counts everything, as a step of the tests.
///
/// # Errors
/// When a path costs more.
pub fn check(context: &Context) -> Outcome {
    count(&mut guard(context))
}

/// The guard from the debug build, for the services of its own build.
fn guard(context: &Context) -> Command {
    let mut guard = context.command(context.target.join("debug/tidings-guard"));
    guard.env("TIDINGS_BIN_DIR", context.programs.clone().unwrap_or_else(|| build::guard_folder(context)));
    guard
}

/// When valgrind does not work here, says so and succeeds.
fn count(guard: &mut Command) -> Outcome {
    let status = guard.status().map_err(|error| format!("the guard: {error}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(CANNOT_COUNT) => {
            say("instruction counts: NOT CHECKED (valgrind does not run here)");
            Ok(())
        }
        _ => Err(format!("the guard ended with {status}")),
    }
}
