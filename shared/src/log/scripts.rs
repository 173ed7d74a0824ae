//! The scripts that write the log. The first line of each text binds the script to an epoch, and the SHA-1 of the text
//! is its name.

use crate::{ids::Epoch, role};

/// The function that formats times, for scripts that publish frames.
const RFC3339: &str = include_str!("rfc3339.lua");
/// The functions that write a room's tail and head, for scripts that append events.
const TAIL: &str = include_str!("tail.lua");

/// One script as it is loaded into a process for one epoch.
#[derive(Debug, Clone)]
pub struct Script {
    pub text: String,
    /// Hexadecimal SHA-1 of the text, by which EVALSHA calls it.
    pub sha: String,
}

impl Script {
    fn bound(parts: &[&str], epoch: Epoch) -> Self {
        use sha1::{Digest, Sha1};
        let text = format!("local EPOCH = '{epoch}'\n{}", parts.concat());
        let sha = format!("{:x}", Sha1::digest(text.as_bytes()));
        Self { text, sha }
    }
}

/// The scripts of one epoch; each field has the name of its file.
#[derive(Debug, Clone)]
pub struct Scripts {
    pub append: Script,
    pub append_many: Script,
    pub marks: Script,
    pub live: Script,
    pub stored: Script,
    pub seed: Script,
    pub blank: Script,
}

impl Scripts {
    /// Makes the scripts for this epoch. Another epoch needs others.
    pub fn of(epoch: Epoch) -> Self {
        let roles = role::lua();
        Self {
            append: Script::bound(&[&roles, RFC3339, TAIL, include_str!("append.lua")], epoch),
            append_many: Script::bound(&[&roles, RFC3339, TAIL, include_str!("append_many.lua")], epoch),
            marks: Script::bound(&[&roles, RFC3339, include_str!("marks.lua")], epoch),
            live: Script::bound(&[&roles, include_str!("live.lua")], epoch),
            stored: Script::bound(&[include_str!("stored.lua")], epoch),
            seed: Script::bound(&[include_str!("seed.lua")], epoch),
            blank: Script::bound(&[include_str!("blank.lua")], epoch),
        }
    }

    /// All scripts, for loading them into a Redis process.
    pub fn all(&self) -> [&Script; 7] {
        [&self.append, &self.append_many, &self.marks, &self.live, &self.stored, &self.seed, &self.blank]
    }
}
