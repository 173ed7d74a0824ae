//! Prints lines to stdout, and tolerates that the reader closes the pipe: `./dev down | head -1` must still stop
//! everything. Also says what a test could not check.

use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

/// Like `println!`, but does not panic if the reader has closed the pipe. Then the line is lost.
#[macro_export]
macro_rules! say {
    ($($args:tt)*) => { $crate::output::print_line(format_args!($($args)*)) };
}

/// Implements [`say!`].
///
/// # Panics
/// When writing fails for another reason, because a truncated report must be noticed.
pub fn print_line(args: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{args}") {
        assert!(error.kind() == ErrorKind::BrokenPipe, "failed printing to stdout: {error}");
    }
}

/// Says that a test cannot check something on this machine. In CI this is red: the gate reads `TIDINGS_GATE_LOG`,
/// because the output of tests that pass is not shown.
///
/// # Panics
/// When the log cannot be written.
pub fn not_checked(why: &str) {
    let line = format!("NOT CHECKED: {why}\n");
    eprint!("{line}");
    if let Some(log) = std::env::var_os("TIDINGS_GATE_LOG") {
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    }
}
