//! The builds. `./dev up`, `play`, `idle`, `faults` and `e2e` use the profile `quick`; tests use `debug`; the bench uses
//! `release`; the guard has a folder of its own.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::context::Context;
use crate::process::{Outcome, output, run, run_logged, say};

/// The programs that every system runs.
const SERVICES: [&str; 3] = ["tidings-gateway", "tidings-persistence", "tidings-migrations"];

/// The programs that run beside the services when `./dev up --with` names them.
pub const COMPANIONS: [&str; 3] = ["files", "push", "webhooks"];

/// The programs that a command starts; the first one is its own.
///
/// # Panics
/// When the command starts no program.
pub fn programs_of(command: &str) -> Vec<&'static str> {
    let (own, companions): (&str, &[&str]) = match command {
        "up" => ("tidings-dev", &[]),
        "play" => return vec!["tidings-play"],
        "idle" => return vec!["tidings-idle"],
        "faults" => ("tidings-faults", &["tidings-webhooks", "tidings-files", "tidings-push"]),
        "e2e" => ("tidings-stack", &["tidings-files", "tidings-push"]),
        _ => panic!("{command} starts no program"),
    };
    [own].into_iter().chain(companions.iter().copied()).chain(SERVICES).collect()
}

/// Builds these programs with the profile `quick`. Of the optional features only the jobs of persistence are built,
/// because its program needs them: decision 31. All calls name the same packages, because cargo selects the features of
/// dependencies by the packages of the call. With other packages it would build the dependencies again.
///
/// # Errors
/// When cargo fails.
pub fn quick(context: &Context, programs: &[&str]) -> Outcome {
    let names: Vec<&str> = programs.iter().map(|name| name.trim_start_matches("tidings-")).collect();
    say(&format!("building {} (the first time takes some minutes)", names.join(" ")));
    let mut cargo = context.command("cargo");
    cargo.args(["build", "--profile", "quick", "--no-default-features"]);
    for package in ["gateway", "persistence", "migrations", "webhooks", "files", "push", "harness"] {
        cargo.args(["-p", &format!("tidings-{package}")]);
    }
    cargo.args(["--features", "tidings-persistence/jobs"]);
    if programs.contains(&"tidings-faults") {
        cargo.args(["--features", "tidings-harness/faults"]);
    }
    programs.iter().for_each(|program| _ = cargo.args(["--bin", program]));
    run(show_progress(context, &mut cargo))
}

/// One line of progress in a terminal. Without a terminal, cargo prints a line for each crate.
fn show_progress<'a>(context: &Context, cargo: &'a mut Command) -> &'a mut Command {
    if !std::io::stderr().is_terminal() {
        return cargo;
    }
    let columns = output(context.command("tput").arg("cols")).unwrap_or_else(|| "80".to_owned());
    cargo.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", columns).arg("--quiet")
}

/// Builds the bench and the services as they ship. A separate call builds the bench itself, so that its dependencies do
/// not change the features of the services.
///
/// # Errors
/// When cargo fails.
pub fn bench(context: &Context) -> Outcome {
    say("building the services for the bench (the first time takes some minutes)");
    let mut services = context.command("cargo");
    services.args(["build", "--release"]);
    for package in ["gateway", "persistence", "migrations", "harness"] {
        services.args(["-p", &format!("tidings-{package}")]);
    }
    for program in SERVICES.into_iter().chain(["tidings-stack"]) {
        services.args(["--bin", program]);
    }
    run(show_progress(context, &mut services))?;
    let mut bench = context.command("cargo");
    run(show_progress(context, bench.args(["build", "--release", "--bins", "-p", "tidings-bench"])))
}

/// Whether warnings are errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Warnings {
    Allowed,
    Denied,
}

/// Builds what the tests need, with clippy as the compiler of our own crates: so dependencies are built once for lints
/// and tests.
///
/// # Errors
/// When cargo fails, or for a warning that is denied, also of a crate that is built already.
pub fn tests(context: &Context, warnings: Warnings) -> Outcome {
    let log = context.state.join("build.log");
    let mut cargo = context.command("cargo");
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    run_logged(cargo.args(["--color", "never", "build", "--workspace", "--all-targets"]), &log)?;
    let printed = fs::read_to_string(&log).unwrap_or_default();
    // cargo prints this line only for crates of the workspace.
    let own = |line: &&str| line.starts_with("warning: `") && line.contains(" generated ");
    match printed.lines().find(own) {
        Some(line) if warnings == Warnings::Denied => Err(line.to_owned()),
        _ => Ok(()),
    }
}

/// The folder of the programs that the guard counts.
pub fn guard_folder(context: &Context) -> PathBuf {
    context.target.join("guard/debug")
}

/// The services that the guard counts. cargo selects the same features of dependencies as for the tests only for the
/// whole workspace and with a target that needs dev-dependencies, here an example.
fn counted(context: &Context) -> Command {
    let mut cargo = context.command("cargo");
    cargo.env("CARGO_TARGET_DIR", context.target.join("guard"));
    cargo.args(["build", "--config", "bench/guard.toml", "--workspace", "--example", "echo"]);
    SERVICES.iter().for_each(|program| _ = cargo.args(["--bin", program]));
    cargo
}

/// Copies the dependencies of the test build to the folder of the guard, so that they are not built again. Programs of
/// tests, whose names end with a hash, are left out.
fn copy_dependencies(context: &Context) -> Outcome {
    let copy = r#"mkdir -p "$1" && cd "$2" &&
        find .fingerprint build deps -type f -not -path '*tidings*' -not -path '*xtask*' \
          -not -path 'deps/*-????????????????' -print0 | xargs -0r cp -au --parents -t "$1""#;
    let debug = context.target.join("debug");
    run(context.command("bash").args(["-c", copy, "copy"]).arg(guard_folder(context)).arg(debug))
}

/// Builds the services whose instructions the guard counts, in a target folder of their own.
///
/// # Errors
/// When the dependencies cannot be copied, or cargo fails.
pub fn guard(context: &Context) -> Outcome {
    say("building the services for the guard (the first time takes some minutes)");
    copy_dependencies(context)?;
    run(&mut counted(context))
}

/// A build in the background. Dropping this value kills it.
pub struct Background(std::process::Child);

/// Starts the build for the guard in the background. The tests mostly wait, and a process of idle priority uses only the
/// CPU time that they leave.
pub fn guard_ahead(context: &Context) -> Option<Background> {
    copy_dependencies(context).ok()?;
    let cargo = counted(context);
    let mut idle = context.command("chrt");
    idle.args(["--idle", "0"]).arg(cargo.get_program()).args(cargo.get_args()).arg("--quiet");
    idle.envs(cargo.get_envs().filter_map(|(name, value)| Some((name, value?))));
    idle.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    idle.spawn().ok().map(Background)
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
