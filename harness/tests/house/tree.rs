//! Reads the files of the project and the parts of them that rules check.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

#[derive(Clone)]
pub struct File {
    /// The path from the project's root, with `/` as separator.
    pub path: String,
    pub text: String,
}

impl File {
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }

    pub fn head(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
    }

    /// The code without comments and tests. A line of code keeps its number.
    pub fn code(&self) -> String {
        if self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let program = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = |line| if str::trim_start(line).starts_with("//") { "" } else { line };
        program.lines().map(code).collect::<Vec<_>>().join("\n")
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file that is not ignored. Files are read once.
pub fn tree() -> Vec<File> {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(read_files);
    FILES.clone()
}

fn read_files() -> Vec<File> {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_end_matches('/')).chain([".git"]).collect();
    let (mut folders, mut files) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if ignored.iter().any(|name| entry.file_name() == **name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push(File { path, text });
            }
        }
    }
    assert!(files.len() > 100, "the tree was not found");
    files
}

pub fn sources(place: &str) -> Vec<File> {
    tree().into_iter().filter(|file| file.path.ends_with(".rs") && file.path.starts_with(place)).collect()
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn pages() -> Vec<File> {
    tree().into_iter().filter(|file| file.path.ends_with(".md")).collect()
}

/// The text of a page's section, up to the next heading of its own or a higher level.
pub fn section(page: &str, heading: &str) -> String {
    let text = read(page);
    let level = heading.chars().take_while(|c| *c == '#').count();
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{page} has no section {heading:?}");
    let ends = |line: &&str| (1..=level).any(|n| line.starts_with(&format!("{} ", "#".repeat(n))));
    lines.take_while(|line| !ends(line)).collect::<Vec<_>>().join("\n")
}

/// The code spans outside fenced code.
pub fn code_spans(text: &str) -> Vec<String> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2)).map(ToOwned::to_owned).collect()
}

pub fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}
