//! The companion programs that `./dev up --with` names: files, push and webhooks. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The port of the first program is the first gateway's port plus this number.
const PORT_OFFSET: u16 = 3;

/// A companion program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Companion {
    Files,
    Push,
    Webhooks,
}

impl Companion {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Files, Self::Push, Self::Webhooks];

    /// The name, without `tidings-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Push => "push",
            Self::Webhooks => "webhooks",
        }
    }

    /// The port of its API.
    pub fn port(self, first: u16) -> Result<u16> {
        first.checked_add(PORT_OFFSET + self as u16).context("the port is too high")
    }

    /// Whether it reads the feed.
    pub(super) fn reads_feed(self) -> bool {
        self != Self::Files
    }
}

/// The value of `--with`: names separated by commas, or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Companions(pub BTreeSet<Companion>);

impl FromStr for Companions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| *name != "none");
        let find = |name: &str| {
            let known = Companion::ALL.into_iter().find(|one| one.name() == name);
            known.ok_or_else(|| format!("{name:?} is not `files`, `push`, `webhooks` or `none`"))
        };
        names.map(find).collect::<Result<_, _>>().map(Companions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_named_by_commas_or_none() {
        let set = |text: &str| text.parse::<Companions>().map(|companions| companions.0);
        assert_eq!(set("none"), Ok(BTreeSet::new()));
        assert_eq!(set("push, files"), Ok([Companion::Files, Companion::Push].into()));
        assert!(set("mail").unwrap_err().starts_with("\"mail\" is not `files`"));
    }
}
