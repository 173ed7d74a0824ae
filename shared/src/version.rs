//! The version and commit of this build, which are shown in the metric `build_info` and in traces.

use std::sync::OnceLock;

/// The version of the crates, which all services share.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Sets the commit. Each program calls this when it starts. The commit is not a constant of this crate, because then
/// each commit would cause this crate to be compiled again.
pub fn set_commit(commit: &'static str) {
    // An error means that the commit is already set, to the same value.
    let _ = COMMIT.set(commit);
}

/// The commit of this build, or `unknown` if the program has not set the commit.
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}
