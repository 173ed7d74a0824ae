//! The Lua scripts that write the log. The first line of each text contains the epoch, and Redis calls a script by the
//! SHA-1 of its text. So a process for which another epoch was opened does not have the script. In a Redis Cluster the
//! text then compares the epoch of the partition, because a slot may move away and come back.

use std::borrow::Cow;

use super::{keys::Partition, layout::Layout};
use crate::{ids::Epoch, limits::MAX_SLOW_MODE_S, role, sabotage};

/// The check of the partition's epoch, for all scripts of a cluster.
const EPOCH_CHECK_LUA: &str = include_str!("epoch_check.lua");
/// The function that formats times, for scripts that publish frames.
const RFC3339_LUA: &str = include_str!("rfc3339.lua");
/// The functions that write a room's tail and head, for scripts that append events.
const TAIL_LUA: &str = include_str!("tail.lua");
/// The functions that limit the bytes of an ingest stream, for scripts that append records.
const BACKLOG_LUA: &str = include_str!("backlog.lua");
/// The functions that decide whether a client id is new, for scripts that append messages.
const CLIENT_IDS_LUA: &str = include_str!("client_ids.lua");

const MARKS_LUA: &str = include_str!("marks.lua");
/// The line of `marks.lua` that publishes a read mark to its user. In a cluster the user's channel may be in another
/// slot. So the script answers the notices instead, as a list after the positions.
const PUBLISH_TO_USER: &str = "redis.call('PUBLISH', 'user:' .. user, notice)";
const ANSWER_NOTICE: &str =
    "if type(positions[#positions]) ~= 'table' then positions[#positions + 1] = {} end
        table.insert(positions[#positions], user .. '\\30' .. notice)";

/// One script as it is loaded into a process for one epoch.
#[derive(Debug, Clone)]
pub struct Script {
    pub text: String,
    /// Hexadecimal SHA-1 of the text, by which EVALSHA calls it.
    pub sha: String,
}

impl Script {
    /// Joins the parts of a script, after a first line that contains the epoch. In a cluster the script also checks the
    /// epoch of the partition, and publishes on sharded channels.
    fn bind_to_epoch(parts: &[&str], epoch: Epoch, layout: Layout) -> Self {
        use sha1::{Digest, Sha1};
        let parts = match layout {
            Layout::Single => parts.concat(),
            Layout::Cluster => {
                [EPOCH_CHECK_LUA, &parts.concat().replace("redis.call('PUBLISH'", "redis.call('SPUBLISH'")]
                    .concat()
            }
        };
        let epoch =
            if sabotage::is_removed("the text of a script holds its epoch") { Epoch(1) } else { epoch };
        let text = format!("local EPOCH = '{epoch}'\n{}", sabotage::without_rules(&parts));
        let sha = format!("{:x}", Sha1::digest(text.as_bytes()));
        Self { text, sha }
    }
}

/// The scripts of one epoch; each field has the name of its file.
#[derive(Debug, Clone)]
pub struct Scripts {
    layout: Layout,
    pub append: Script,
    pub append_many: Script,
    pub marks: Script,
    pub live: Script,
    pub stored: Script,
    pub seed: Script,
    pub blank: Script,
}

impl Scripts {
    /// Returns the scripts for an epoch of a process with this layout.
    pub fn of(epoch: Epoch, layout: Layout) -> Self {
        let bind = |parts: &[&str]| Script::bind_to_epoch(parts, epoch, layout);
        let roles = role::ranks_as_lua();
        let slow_mode = format!("local MAX_SLOW_MODE_S = {MAX_SLOW_MODE_S}\n");
        let marks = match layout {
            Layout::Single => Cow::Borrowed(MARKS_LUA),
            Layout::Cluster => Cow::Owned(MARKS_LUA.replace(PUBLISH_TO_USER, ANSWER_NOTICE)),
        };
        let append = [
            &roles,
            RFC3339_LUA,
            TAIL_LUA,
            BACKLOG_LUA,
            CLIENT_IDS_LUA,
            &slow_mode,
            include_str!("append.lua"),
        ];
        Self {
            layout,
            append: bind(&append),
            append_many: bind(&[
                &roles,
                RFC3339_LUA,
                TAIL_LUA,
                CLIENT_IDS_LUA,
                include_str!("append_many.lua"),
            ]),
            marks: bind(&[&roles, RFC3339_LUA, BACKLOG_LUA, &marks]),
            live: bind(&[&roles, include_str!("live.lua")]),
            stored: bind(&[include_str!("stored.lua")]),
            seed: bind(&[include_str!("seed.lua")]),
            blank: bind(&[include_str!("blank.lua")]),
        }
    }

    /// The keys that a call in this partition declares after the keys of the script: see `epoch_check.lua`. A single
    /// Redis needs none.
    pub fn check_keys(&self, partition: Partition) -> Vec<String> {
        match self.layout {
            Layout::Single => Vec::new(),
            Layout::Cluster => vec![partition.epoch_mark(), partition.absent()],
        }
    }

    /// All scripts, for loading them into a Redis process.
    pub fn all(&self) -> [&Script; 7] {
        [&self.append, &self.append_many, &self.marks, &self.live, &self.stored, &self.seed, &self.blank]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_a_single_redis_contain_no_epoch_check() {
        let scripts = Scripts::of(Epoch(5), Layout::Single);
        assert_eq!(scripts.seed.text, format!("local EPOCH = '5'\n{}", include_str!("seed.lua")));
        assert!(scripts.all().iter().all(|script| !script.text.contains("SPUBLISH")));
        assert!(scripts.check_keys(Partition(7)).is_empty());
    }

    #[test]
    fn scripts_of_a_cluster_check_the_epoch_first() {
        let scripts = Scripts::of(Epoch(5), Layout::Cluster);
        let begin = format!("local EPOCH = '5'\n{EPOCH_CHECK_LUA}");
        for script in scripts.all() {
            assert!(script.text.starts_with(&begin) && !script.text.contains("'PUBLISH'"), "{}", script.text);
        }
        assert!(scripts.append_many.text.contains("redis.call('SPUBLISH', room_key"));
        assert_eq!(scripts.check_keys(Partition(7)), ["{07}:epoch", "{07}:none"]);
    }

    #[test]
    fn marks_script_of_a_cluster_publishes_to_no_user() {
        let text = |layout| Scripts::of(Epoch(7), layout).marks.text;
        assert!(text(Layout::Single).contains(PUBLISH_TO_USER));
        let in_cluster = text(Layout::Cluster);
        assert!(in_cluster.contains(ANSWER_NOTICE) && !in_cluster.contains("'user:'"));
    }
}
