//! What the fuzz targets were fed, kept as tests: every file of a target's corpus through its entry.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Fewer would mean that they were not found.
const AT_LEAST: usize = 20;

/// Runs all of them, and names those that fail. A panic's own words stand above.
pub fn run_all(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let (mut all, mut failed) = (0, Vec::new());
    for file in files {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        all += 1;
        if catch_unwind(AssertUnwindSafe(|| entry(&bytes))).is_err() {
            failed.push(path.display().to_string());
        }
    }
    assert!(all >= AT_LEAST, "{} holds only {all} files", folder.display());
    assert!(failed.is_empty(), "failed:\n  {}", failed.join("\n  "));
}
