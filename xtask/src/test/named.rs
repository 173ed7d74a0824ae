//! `./dev test NAME`: the tests whose names contain it, without lint.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::postgres::SharedPostgres;
use crate::build::{self, Warnings};
use crate::clients::{self, Vitest};
use crate::context::Context;
use crate::nextest::{self, Nextest, Retries};
use crate::packages;
use crate::report::Report;
use crate::tools::{needs, node};

/// Runs the tests of a name, and closes their report.
pub fn run(context: &mut Context, name: &str, retries: Retries) -> ExitCode {
    let mut report = Report::new(context);
    // Some tests of Rust need Node.
    report.step("node", || node::need_npm(context));
    report.step("cargo build", || build::tests(context, Warnings::Allowed));
    install_tools(context, &mut report, "default", &[name]);
    let postgres = SharedPostgres::start(context, &mut report);
    let tests = Nextest {
        context,
        profile: "default",
        retries,
        arguments: vec!["--no-tests", "pass", name],
        limit: None,
    };
    report.counted_step("tests of Rust", || tests.run(&[]), &tests.log(), || tests.figures());
    if is_named_in_clients(&context.root.join("clients"), name) {
        report.step("clients: npm ci", || clients::install(context));
        report.step("clients: build", || clients::build(context));
        let programs = context.target.join("debug");
        // Vitest takes a regular expression, so special characters of the name are escaped.
        let special = |c: char| "[].*^$(){}?+|/\\".contains(c);
        let pattern = name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect();
        let arguments = vec!["--passWithNoTests".to_owned(), "-t".to_owned(), pattern];
        let tests = Vitest { script: "test", programs: &programs, results: "vitest", arguments, limit: None };
        let log = tests.file(context).with_extension("log");
        report.counted_step("clients: vitest", || tests.run(context), &log, || tests.figures(context));
    }
    postgres.stop(context);
    if report.tests() == 0 {
        report.step("selection of tests", || Err(format!("no test has a name that contains {name}")));
    }
    report.close()
}

/// Installs the tools of the tests that these arguments of nextest select. Returns the program and the name of each test.
pub fn install_tools(
    context: &mut Context,
    report: &mut Report,
    profile: &str,
    arguments: &[&str],
) -> Vec<(String, String)> {
    let tests = match nextest::list(context, profile, arguments) {
        Ok(tests) => tests,
        Err(why) => {
            report.step("list of tests", || Err(why));
            return Vec::new();
        }
    };
    let names: Vec<&str> = tests.iter().map(|(_, name)| name.as_str()).collect();
    let packages = needs::packages_of(&names);
    if !packages.is_empty() {
        report.step("packages", || packages::need(context, &packages));
    }
    for tool in needs::tools_of(&names) {
        report.step(tool.name(), || tool.install(context));
    }
    tests
}

/// Whether a test of a TypeScript package contains the name.
fn is_named_in_clients(clients: &Path, name: &str) -> bool {
    let packages = fs::read_dir(clients).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = packages.filter(|path| !path.ends_with("node_modules")).flat_map(|package| {
        let entries = fs::read_dir(package).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("test"))
            .map(|entry| entry.path())
    });
    folders.into_iter().any(|folder| contains(&folder, name))
}

fn contains(path: &Path, name: &str) -> bool {
    if path.is_dir() {
        return fs::read_dir(path).into_iter().flatten().flatten().any(|entry| contains(&entry.path(), name));
    }
    fs::read_to_string(path).is_ok_and(|text| text.contains(name))
}
