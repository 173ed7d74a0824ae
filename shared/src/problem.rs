//! A problem with a setting: which setting and why, never the value of a secret.

use std::fmt;

/// One problem. `setting` is the flag without dashes; `load` adds the variable.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub setting: String,
    pub variable: Option<String>,
    pub why: String,
}

impl Problem {
    /// A problem of the setting with this flag, such as `lease-ms`.
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

/// Checks of settings that parsed well: alone, in combination, or with the files that they name.
pub trait Check {
    /// All problems. May read files, but opens no connection.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// All problems in one line.
#[must_use]
pub fn join(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
