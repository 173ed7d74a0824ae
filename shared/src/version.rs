//! Which build this is: told by `build_info` of the metrics and by the spans' resource.

use std::sync::OnceLock;

/// Version of all programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Told by each program as it starts: what is shared is not built anew for each commit.
pub fn built_from(commit: &'static str) {
    // Told twice, it is the same.
    let _ = COMMIT.set(commit);
}

/// The commit that it was built from, where the program has told.
#[must_use]
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}
