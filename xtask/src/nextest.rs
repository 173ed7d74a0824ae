//! Runs the tests of Rust with nextest, and reads what it found.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::context::Context;
use crate::process::{Outcome, create, output, run_logged, within};
use crate::report::Figures;
use crate::tools::cargo_tools;

/// How often a failed test is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    None,
    /// A test that passes at its second attempt is flaky, and does not fail the run.
    Once,
}

/// A run of nextest.
pub struct Nextest<'a> {
    pub context: &'a Context,
    pub profile: &'a str,
    pub retries: Retries,
    /// Further arguments, such as `-E` and a filter.
    pub arguments: Vec<&'a str>,
    /// The run is ended after this time.
    pub limit: Option<Duration>,
}

impl Nextest<'_> {
    fn command(context: &Context, action: &str) -> Result<Command, String> {
        let mut command = context.command(cargo_tools::nextest(context)?);
        // `build::tests` uses the same wrapper. With another one cargo would compile our crates again.
        command.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").args(["nextest", action, "--workspace"]);
        Ok(command)
    }

    /// The output of the last run with this profile.
    pub fn log(&self) -> PathBuf {
        self.context.state.join(format!("test-{}.log", self.profile))
    }

    /// Runs the tests with these variables.
    ///
    /// # Errors
    /// When a test fails, or the tests do not compile.
    pub fn run(&self, variables: &[(&str, &Path)]) -> Outcome {
        // The log must exist even when nextest cannot be installed.
        create(&self.log())?;
        let _ = std::fs::remove_file(self.junit());
        let mut command = Self::command(self.context, "run")?;
        command.args(["--color", "never", "--profile", self.profile]).args(&self.arguments);
        if self.retries == Retries::Once {
            command.args(["--retries", "1"]);
        }
        command.envs(variables.iter().copied());
        run_logged(&mut within(command, self.limit), &self.log())
    }

    /// The numbers of the last run.
    pub fn figures(&self) -> Figures {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let mut figures = log.lines().rev().find_map(summary).unwrap_or_default();
        figures.flaky = flaky(&std::fs::read_to_string(self.junit()).unwrap_or_default());
        figures
    }

    /// The seconds of each test of the last run, with its program and its name.
    pub fn seconds(&self) -> Vec<(f64, String)> {
        let junit = std::fs::read_to_string(self.junit()).unwrap_or_default();
        junit
            .lines()
            .filter_map(|line| Some((attribute(line, "time")?.parse().ok()?, test_name(line)?)))
            .collect()
    }

    fn junit(&self) -> PathBuf {
        self.context.root.join("target/nextest").join(self.profile).join("junit.xml")
    }
}

/// The program and the name of each test that the arguments select.
///
/// # Errors
/// When the tests do not compile.
pub fn list(context: &Context, profile: &str, arguments: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut command = Nextest::command(context, "list")?;
    command.args(["--profile", profile, "--message-format", "oneline"]).args(arguments);
    let listed = output(&mut command).ok_or(
        "nextest cannot list the tests; see whether they compile: cargo build --workspace --all-targets",
    )?;
    let pair = |line: &str| line.split_once(' ').map(|(program, test)| (program.to_owned(), test.to_owned()));
    Ok(listed.lines().filter_map(pair).collect())
}

/// Reads the line `Summary [1.2s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 3 skipped`.
fn summary(line: &str) -> Option<Figures> {
    let counts = line.trim_start().strip_prefix("Summary [")?;
    let words: Vec<&str> = counts.split_whitespace().collect();
    let before = |wanted: &str| {
        let at = words.iter().position(|word| word.trim_end_matches([',', 's']) == wanted)?;
        // A run that was cut short prints `2/3 tests run`.
        words[at.checked_sub(1)?].split('/').next_back()?.parse::<u64>().ok()
    };
    let (run, passed) = (before("test")?, before("passed").unwrap_or(0));
    Some(Figures { passed, failed: run - passed, flaky: Vec::new() })
}

/// The flaky tests of a JUnit file, with the beginnings of their first failures.
fn flaky(junit: &str) -> Vec<String> {
    let cases = junit.split("<testcase ").skip(1).filter_map(|case| {
        let failure = case.split_once("<flakyFailure")?.1;
        let text = failure.split_once('>').map_or("", |(_, text)| text);
        Some(format!("{} ({})", test_name(&format!("<testcase {case}"))?, reason(text)))
    });
    cases.collect()
}

/// The line that says why a test failed.
fn reason(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let after_panic = || lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    let error = || lines().find(|line| line.starts_with("Error: "));
    let found = error().or_else(after_panic).or_else(|| lines().next()).unwrap_or_default();
    unescape(found).chars().take(300).collect()
}

/// Program and name of a test case: `<testcase name="a::b" classname="harness::auth" …`.
fn test_name(case: &str) -> Option<String> {
    let tag = &case[case.find("<testcase ")?..];
    let tag = &tag[..tag.find('>')?];
    Some(format!("{} {}", attribute(tag, "classname")?, attribute(tag, "name")?))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(rest.split_once('"')?.0))
}

fn unescape(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#10;", " "), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::passed("     Summary [   1.234s] 3 tests run: 3 passed (1 slow), 0 skipped", 3, 0)]
    #[case::one("     Summary [   1.234s] 1 test run: 1 passed, 0 skipped", 1, 0)]
    #[case::failed("     Summary [   1.234s] 3 tests run: 2 passed, 1 failed, 4 skipped", 2, 1)]
    #[case::cut_short("     Summary [   1.234s] 2/3 tests run: 1 passed, 1 timed out, 4 skipped", 1, 2)]
    #[case::none_passed("     Summary [   1.234s] 2 tests run: 2 failed, 4 skipped", 0, 2)]
    #[case::flaky("     Summary [   1.234s] 9 tests run: 9 passed (1 slow, 1 flaky), 4 skipped", 9, 0)]
    fn summary_line_gives_passed_and_failed(#[case] line: &str, #[case] passed: u64, #[case] failed: u64) {
        let figures = summary(line).unwrap();
        assert_eq!((figures.passed, figures.failed), (passed, failed));
    }

    #[test]
    fn flaky_tests_are_read_with_their_first_reason() {
        let junit = r#"<testsuite><testcase name="a::ok" classname="harness::auth" time="1.0"></testcase>
            <testcase name="b::late" classname="harness::rooms" timestamp="2026" time="2.5">
              <flakyFailure timestamp="2026" time="1.5" type="test failure">
                thread 'b::late' panicked at harness/tests/rooms/b.rs:7:9:
                assertion failed: left &lt; right
              </flakyFailure></testcase></testsuite>"#;
        assert_eq!(flaky(junit), ["harness::rooms b::late (assertion failed: left < right)"]);
    }
}
