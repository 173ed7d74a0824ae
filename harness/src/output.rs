//! Prints lines even if the reader closes the pipe early: `./dev down | head -1` must stop everything nevertheless.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Like `println!`, but skips the line if the reader has closed the pipe, and the program continues.
#[macro_export]
macro_rules! say {
    ($($told:tt)*) => { $crate::output::line(format_args!($($told)*)) };
}

/// Implements [`say!`].
///
/// # Panics
/// When writing fails for another reason, like `println!`: a truncated report must be noticed.
pub fn line(told: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{told}") {
        assert!(error.kind() == ErrorKind::BrokenPipe, "failed printing to stdout: {error}");
    }
}
