//! The version and commit of this build, for the metric `build_info` and the resource of spans.

use std::sync::OnceLock;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Sets the commit. Each program calls this as it starts: if this crate contained the commit, each commit would rebuild
/// it.
pub fn built_from(commit: &'static str) {
    // A second call has the same value.
    let _ = COMMIT.set(commit);
}

/// The commit of this build, or `unknown` if the program did not set it.
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}
