//! What a run of checks found: its steps with their times, the numbers of tests, the flaky ones, and the closing lines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::process::{Outcome, say};

/// This number of flaky tests in one run of the gate is red.
const MAX_FLAKY: usize = 3;

/// The results of test runners.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Figures {
    pub passed: u64,
    pub failed: u64,
    /// The tests that failed first and passed when they were repeated, each with the reason of its first failure.
    pub flaky: Vec<String>,
}

/// Collects the results of steps. A failed step does not end the run.
pub struct Report {
    begun: Instant,
    seconds: Vec<(u64, String)>,
    failed_steps: Vec<String>,
    /// Failed steps whose tests are counted as failures already.
    excused: u64,
    passed: u64,
    failed: u64,
    /// The beginnings of the messages of failed tests, so that the end of the output tells why a test failed.
    messages: Vec<String>,
    flaky: Vec<String>,
    /// Collects the flaky tests of all parts of the gate.
    flaky_file: PathBuf,
}

impl Report {
    /// An empty report. Flaky tests are added to `TIDINGS_FLAKY_FILE`, with which CI collects those of several runs;
    /// without it, they are in a new file in the target folder.
    pub fn new(context: &Context) -> Report {
        let collected = context.variable("TIDINGS_FLAKY_FILE").map(PathBuf::from);
        let own = context.target.join("flaky.txt");
        if collected.is_none() {
            let _ = fs::remove_file(&own);
        }
        Report::collecting_in(collected.unwrap_or(own))
    }

    fn collecting_in(flaky_file: PathBuf) -> Report {
        Report {
            begun: Instant::now(),
            seconds: Vec::new(),
            failed_steps: Vec::new(),
            excused: 0,
            passed: 0,
            failed: 0,
            messages: Vec::new(),
            flaky: Vec::new(),
            flaky_file,
        }
    }

    /// When the run began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Runs a step and records it. Returns whether it succeeded.
    pub fn step(&mut self, name: &str, action: impl FnOnce() -> Outcome) -> bool {
        say(name);
        let begun = Instant::now();
        let outcome = action();
        self.record(name, begun.elapsed(), outcome)
    }

    /// Records a step that ran elsewhere. Returns whether it succeeded.
    pub fn record(&mut self, name: &str, took: Duration, outcome: Outcome) -> bool {
        self.seconds.push((took.as_secs(), name.to_owned()));
        let Err(why) = outcome else { return true };
        say(&format!("{name}: FAILED ({why})"));
        self.failed_steps.push(name.to_owned());
        false
    }

    /// Runs a step with tests, whose results `figures` reads afterwards. A step whose tests failed is no further
    /// failure. `log` has the output of the tests.
    pub fn counted_step(
        &mut self,
        name: &str,
        action: impl FnOnce() -> Outcome,
        log: &Path,
        figures: impl FnOnce() -> Figures,
    ) {
        let succeeded = self.step(name, action);
        let figures = figures();
        self.passed += figures.passed;
        self.failed += figures.failed;
        if figures.failed > 0 {
            self.excused += u64::from(!succeeded);
            self.messages.push(failure_messages(&fs::read_to_string(log).unwrap_or_default()));
        }
        self.flaky.extend(figures.flaky);
    }

    /// Says that something is not checked on this machine, which is no failure.
    pub fn not_checked(&self, what: &str, why: &str) {
        say(&format!("{what}: NOT CHECKED ({why})"));
    }

    /// The number of tests that were counted.
    pub fn tests(&self) -> u64 {
        self.passed + self.failed
    }

    /// Prints the seconds of each step.
    pub fn print_steps(&self) {
        println!("\nseconds  step");
        self.seconds.iter().for_each(|(seconds, name)| println!("{seconds:7}  {name}"));
    }

    /// Exits with 1 when a step failed, and prints which.
    pub fn close_lint(&self) -> ExitCode {
        self.failed_steps.iter().for_each(|name| eprintln!("failed: {name}"));
        ExitCode::from(u8::from(!self.failed_steps.is_empty()))
    }

    /// Prints what failed and the flaky tests, and as its last line `N passed, N failed`. It counts tests, and each step
    /// that failed for another reason. Too many flaky tests are a failure.
    pub fn close(mut self) -> ExitCode {
        if let Err(why) = self.keep_flaky() {
            say(&why);
            self.failed_steps.push("flaky tests".to_owned());
        }
        self.failed += self.failed_steps.len() as u64 - self.excused;
        let mut closing = self.messages.concat();
        for name in &self.failed_steps {
            let _ = writeln!(closing, "failed: {name}");
        }
        for test in &self.flaky {
            let _ = writeln!(closing, "flaky: {test}");
        }
        println!(
            "{closing}{} s\n{} passed, {} failed",
            self.begun.elapsed().as_secs(),
            self.passed,
            self.failed
        );
        ExitCode::from(u8::from(self.failed > 0))
    }

    /// Appends the flaky tests to the file of the gate.
    fn keep_flaky(&self) -> Outcome {
        if self.flaky.is_empty() {
            return Ok(());
        }
        let mut all = fs::read_to_string(&self.flaky_file).unwrap_or_default();
        self.flaky.iter().for_each(|test| _ = writeln!(all, "{test}"));
        fs::write(&self.flaky_file, &all)
            .map_err(|error| format!("{}: {error}", self.flaky_file.display()))?;
        let count = all.lines().count();
        if count <= MAX_FLAKY { Ok(()) } else { Err(format!("{count} flaky tests in one run of the gate")) }
    }
}

/// The first lines of each of the first ten messages in a log of tests.
fn failure_messages(log: &str) -> String {
    let is_message = |line: &str| {
        line.contains("panicked at")
            || line.contains("AssertionError")
            || line.trim_start().starts_with("Error: ")
    };
    let (mut shown, mut left, mut messages) = (0, 0, String::new());
    for line in log.lines() {
        if is_message(line) && shown < 10 {
            (shown, left) = (shown + 1, 6);
        }
        if left > 0 {
            left -= 1;
            let _ = writeln!(messages, "{}", line.chars().take(400).collect::<String>());
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_step_with_failed_tests_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::collecting_in(folder.path().join("flaky.txt"));
        let red = || Figures { passed: 2, failed: 1, flaky: Vec::new() };
        report.counted_step("tests", || Err("exit 100".to_owned()), &folder.path().join("log"), red);
        report.step("lint", || Err("exit 1".to_owned()));
        assert_eq!(
            (report.passed, report.failed, report.failed_steps.len() as u64 - report.excused),
            (2, 1, 1)
        );
    }

    #[rstest::rstest]
    #[case::none(&[], false)]
    #[case::three_in_two_parts(&[1, 2], false)]
    #[case::four_in_two_parts(&[3, 1], true)]
    fn fourth_flaky_test_of_a_gate_is_red(#[case] parts: &[usize], #[case] red: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut refused = false;
        for count in parts {
            let mut report = Report::collecting_in(folder.path().join("flaky.txt"));
            let flaky = Figures { passed: 9, failed: 0, flaky: vec!["a::test (why)".to_owned(); *count] };
            report.counted_step("tests", || Ok(()), &folder.path().join("log"), || flaky);
            refused |= report.keep_flaky().is_err();
        }
        assert_eq!(refused, red);
    }

    #[test]
    fn messages_are_cut_after_six_lines() {
        let log = format!("noise\nthread 'a' panicked at b\n{}", "line\n".repeat(20));
        assert_eq!(failure_messages(&log).lines().count(), 6);
    }
}
