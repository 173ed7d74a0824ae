//! Backups with pgBackRest, by the shipped programs, on a real PostgreSQL and a real repository. The tests themselves are
//! in deploy/postgres/tests, because the programs are Python.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tidings_harness::node;

/// Runs these tests of deploy/postgres/tests.
fn run(tests: &[&str]) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/tests/run.sh");
    let programs = node::program("tidings-migrations")?;
    let folder = programs.parent().context("the program has no folder")?;
    let done = Command::new(script).args(tests).env("TIDINGS_BIN_DIR", folder).output()?;
    let output = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success() && output.contains("\nOK\n"), "{output}");
    Ok(())
}

#[test]
fn schedule_has_weekly_full_and_daily_differential_backups() -> Result<()> {
    run(&["test_plan", "test_real.ScheduleTest.test_due_backup_is_made_once"])
}

#[test]
fn restored_moment_has_exactly_the_messages_until_then() -> Result<()> {
    run(&["test_real.MomentTest"])
}

#[test]
fn broken_archive_stops_the_time_of_the_archive() -> Result<()> {
    run(&["test_real.MetricsTest"])
}

#[test]
fn rehearsal_passes_and_finds_what_is_broken() -> Result<()> {
    run(&["test_real.RehearsalTest"])
}

#[test]
#[ignore = "long: makes five full backups"]
fn retention_keeps_four_full_backups() -> Result<()> {
    run(&["test_real.ScheduleTest.test_retention_keeps_four_full_backups"])
}
