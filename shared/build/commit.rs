//! Sets `TIDINGS_COMMIT` at compile time to the commit that a program is built from. The value is the environment
//! variable of that name if it is set (for sources without git history), else the output of git, else `unknown`. Cargo
//! runs this script again only after a commit, a checkout or a change of the variable.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "TIDINGS_COMMIT";

fn main() {
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    println!("cargo:rerun-if-changed=../shared/build/commit.rs");
    let given = std::env::var(VARIABLE).ok().filter(|given| !given.trim().is_empty());
    let commit = given.map(|given| given.trim().to_owned()).or_else(|| {
        head_files().iter().for_each(|file| println!("cargo:rerun-if-changed={}", file.display()));
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!("cargo:rustc-env={VARIABLE}={}", commit.as_deref().unwrap_or("unknown"));
}

/// The git files that change whenever HEAD points to another commit, in a worktree too. Only existing files are listed,
/// because cargo rebuilds every time when a listed file is missing.
fn head_files() -> Vec<PathBuf> {
    let Some(folder) = git(&["rev-parse", "--absolute-git-dir"]) else { return Vec::new() };
    let folder = Path::new(&folder);
    let log = folder.join("logs/HEAD");
    if log.exists() {
        return vec![log];
    }
    // Without a log of HEAD, cargo watches HEAD and the reference that HEAD names, which may be packed.
    let named =
        git(&["symbolic-ref", "-q", "HEAD"]).and_then(|name| git(&["rev-parse", "--git-path", &name]));
    let packed = git(&["rev-parse", "--git-path", "packed-refs"]);
    let files = [Some(folder.join("HEAD")), named.map(PathBuf::from), packed.map(PathBuf::from)];
    files.into_iter().flatten().filter(|file| file.exists()).collect()
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
