//! Lines on standard output that nobody has to read to their end: `./dev down | head -1` stops everything all the same.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// As `println!`, but for a reader who went away the line is left out, and the work goes on.
#[macro_export]
macro_rules! say {
    ($($told:tt)*) => { $crate::output::line(format_args!($($told)*)) };
}

/// What [`say!`] does.
///
/// # Panics
/// When the line cannot be written for another reason, as `println!` does: a report must not be cut off unnoticed.
pub fn line(told: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{told}") {
        assert!(error.kind() == ErrorKind::BrokenPipe, "failed printing to stdout: {error}");
    }
}
