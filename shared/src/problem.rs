//! A problem with a setting: the name of the setting and the reason, but never the value of a secret.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// A problem with one setting. `setting` is the name of the flag without dashes; `load` adds the environment variable.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub setting: String,
    pub variable: Option<String>,
    pub why: String,
}

impl Problem {
    /// Creates a problem of a setting; `setting` is the flag without dashes, such as `lease-ms`.
    pub fn new(setting: &str, why: impl fmt::Display) -> Self {
        Self { setting: setting.to_owned(), variable: None, why: why.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}", self.setting)?;
        if let Some(variable) = &self.variable {
            write!(f, " ({variable})")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Settings that clap has parsed, and whose values, combinations and files need further checks.
pub trait Check {
    /// Returns all problems. May read the files that the settings name, but opens no connection.
    fn check(&self) -> Vec<Problem>;

    /// The flags, without dashes, of required settings that the requested action does not use.
    fn unused_settings(&self) -> &'static [&'static str] {
        &[]
    }

    /// Receives the files from which secrets were read, so that a service can read them again while it runs.
    fn set_secret_files(&mut self, _files: SecretFiles) {}
}

/// The files from which secrets were read, by the flag of the secret without dashes.
pub type SecretFiles = BTreeMap<String, PathBuf>;

/// Formats all problems in one line.
#[must_use]
pub fn join_problems(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
