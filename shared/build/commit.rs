//! Tells the programs which commit they are built from, as `TIDINGS_COMMIT` at compile time: the variable of that name
//! when it is set (where the sources come without their history), else what git says, else `unknown`. Built anew only
//! when that may have changed: at a commit, a checkout or another value of the variable.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "TIDINGS_COMMIT";

fn main() {
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    println!("cargo:rerun-if-changed=../shared/build/commit.rs");
    let told = std::env::var(VARIABLE).ok().filter(|told| !told.trim().is_empty());
    let commit = told.map(|told| told.trim().to_owned()).or_else(|| {
        moves().iter().for_each(|file| println!("cargo:rerun-if-changed={}", file.display()));
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!("cargo:rustc-env={VARIABLE}={}", commit.as_deref().unwrap_or("unknown"));
}

/// Files of git that change whenever HEAD leads to another commit, of a worktree too. Only those that are there: a
/// missing file would have everything built anew each time.
fn moves() -> Vec<PathBuf> {
    let Some(folder) = git(&["rev-parse", "--absolute-git-dir"]) else { return Vec::new() };
    let folder = Path::new(&folder);
    let log = folder.join("logs/HEAD");
    if log.exists() {
        return vec![log];
    }
    // Without a log of HEAD: what it names, wherever that is kept.
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
