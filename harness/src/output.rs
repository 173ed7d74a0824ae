//! Prints lines to stdout, and tolerates that the reader closes the pipe: `./dev down | head -1` must still stop
//! everything.

use std::fmt::Arguments;
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
