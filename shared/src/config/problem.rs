//! What is wrong with a setting: which one and why, never a secret's value.

use std::fmt;

/// One problem. The flag's name is without dashes; the variable is added by whoever knows the declarations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub setting: String,
    pub variable: Option<String>,
    pub why: String,
}

impl Problem {
    /// Of the setting with this flag, such as `lease-ms`.
    #[must_use]
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

/// Settings that were read can still make no sense: alone, together, or with the files that they name.
pub trait Check {
    /// All problems. Reads files, connects nowhere.
    fn check(&self) -> Vec<Problem>;
}

/// All of them in one sentence.
#[must_use]
pub fn told(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
