//! The checks that run no program of Tidings: formatting, shell scripts, dependencies, monitoring, and the TypeScript
//! packages. `./dev test` runs clippy with its build instead of here.

use std::process::ExitCode;

use crate::context::Context;
use crate::process::{Outcome, run, run_quietly};
use crate::report::Report;
use crate::tools::{self, cargo_tools, node};
use crate::{clients, packages};

const SCRIPTS: [&str; 4] = ["dev", ".ci/run", ".cargo/linker-cc", "deploy/release.sh"];
const SCRIPT_FOLDERS: [&str; 2] = ["deploy/postgres", "deploy/postgres/tests"];

/// `./dev lint`: all checks, with clippy.
///
/// # Errors
/// When a package is missing and cannot be installed.
pub fn lint(context: &mut Context) -> Result<ExitCode, String> {
    packages::need_servers(context)?;
    let mut report = Report::new(context);
    check_formatting(context, &mut report);
    report.step("cargo clippy", || {
        let mut clippy = context.command("cargo");
        run(clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    check_files(context, &mut report);
    check_clients(context, &mut report);
    Ok(report.close_lint())
}

/// Checks the format of the Rust code.
pub fn check_formatting(context: &Context, report: &mut Report) {
    report.step("cargo fmt --check", || run(context.command("cargo").args(["fmt", "--all", "--check"])));
}

/// Checks scripts, dependencies and monitoring.
pub fn check_files(context: &mut Context, report: &mut Report) {
    let _ = tools::need_pip(context);
    check_scripts(context, report);
    check_dependencies(context, report);
    report.step("monitoring", || {
        run(context.command(context.root.join("deploy/tools/watch.sh")).env("TIDINGS_TOOLS", &context.tools))
    });
}

fn check_scripts(context: &Context, report: &mut Report) {
    let Some(shellcheck) = tools::shellcheck(context) else {
        report.not_checked("shellcheck", "neither shellcheck nor pip is available");
        return;
    };
    let of_folder = |folder: &&str| {
        let entries = std::fs::read_dir(context.root.join(folder)).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "sh"))
            .collect::<Vec<_>>()
    };
    report.step("shellcheck", || {
        let mut check = context.command(&shellcheck);
        check.arg("-x").args(SCRIPTS).arg("deploy/tools/watch.sh");
        run(check.args(SCRIPT_FOLDERS.iter().flat_map(of_folder)))
    });
    report.step("shellcheck (watchdog)", || {
        run(context.command(&shellcheck).args(["--shell=sh", "harness/src/watchdog.sh"]))
    });
}

/// Checks licenses, sources and advisories. The fuzz targets have their own lock file, and this machine may not have
/// their dependencies.
fn check_dependencies(context: &Context, report: &mut Report) {
    let deny = match cargo_tools::deny(context) {
        Ok(Some(deny)) => deny,
        Ok(None) => {
            report.not_checked(
                "dependencies",
                "cargo-deny is not installed, and crates cannot be downloaded to build it",
            );
            return;
        }
        Err(error) => {
            report.step("build of cargo deny", || Err(error));
            return;
        }
    };
    let check = |arguments: &[&str]| -> Outcome { run(context.command(&deny).args(arguments)) };
    let kinds = ["bans", "licenses", "sources"];
    let of_fuzz = ["--locked", "--manifest-path", "fuzz/Cargo.toml", "--config", "deny.toml"];
    report.step("cargo deny", || {
        check(&[&["check", "-A", "license-exception-not-encountered"], &kinds[..]].concat())
    });
    let fetch = ["fetch", "-q", "--locked", "--manifest-path", "fuzz/Cargo.toml"];
    let fetched = run_quietly(context.command("cargo").args(fetch)).is_ok();
    let with_fuzz = fetched || cargo_tools::has_crates(context);
    if with_fuzz {
        report.step("cargo deny (fuzz)", || {
            check(&[&of_fuzz[..], &["check", "-A", "license-not-encountered"], &kinds[..]].concat())
        });
    } else {
        report.not_checked("dependencies of fuzz/", "they cannot be downloaded");
    }
    if run_quietly(context.command("timeout").arg("60").arg(&deny).args(["fetch", "db"])).is_err() {
        report.not_checked("advisories", "the database cannot be downloaded");
        return;
    }
    let advisories = ["check", "advisories"];
    report.step("cargo deny (advisories)", || check(&[&["--offline"], &advisories[..]].concat()));
    if with_fuzz {
        report.step("cargo deny (advisories, fuzz)", || {
            check(&[&["--offline"], &of_fuzz[..], &advisories[..]].concat())
        });
    }
}

/// Checks format, build and types of the TypeScript packages. Returns whether they can be used at all.
pub fn check_clients(context: &mut Context, report: &mut Report) -> bool {
    if node::need_npm(context).is_err() {
        report.not_checked("clients", "Node 20.19 or later with npm is not available");
        return false;
    }
    if !report.step("clients: npm ci", || clients::install(context)) {
        return false;
    }
    report.step("clients: biome ci", || run(&mut clients::npm(context, &["run", "lint"])));
    report.step("clients: build", || clients::build(context));
    report.step("clients: types", || run(&mut clients::npm(context, &["run", "types"])));
    check_client_advisories(context, report);
    true
}

/// Asks the registry of npm for advisories about the packages of the lock file. No registry of packages has a database
/// of advisories to download, so without this answer nothing is checked.
fn check_client_advisories(context: &Context, report: &mut Report) {
    let once = ["--fetch-retries=0", "--fetch-timeout=30000"];
    let audit = ["audit", "--json", "--package-lock-only", "--audit-level=high"];
    let answer = clients::npm(context, &[&audit[..], &once].concat()).output();
    match answer {
        Ok(answer) if String::from_utf8_lossy(&answer.stdout).contains("\"auditReportVersion\"") => {
            report.step("clients: npm audit", || match answer.status.code() {
                Some(0) => Ok(()),
                _ => Err("npm audit in clients/ names packages with known holes".to_owned()),
            });
        }
        _ => report.not_checked("clients: advisories", "the registry of npm does not answer npm audit"),
    }
}
