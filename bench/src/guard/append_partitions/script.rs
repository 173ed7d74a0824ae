//! The script calls that [`super`] counts. Rooms, client ids and texts have the usual lengths.

use std::path::Path;

use anyhow::{Context, Result};
use redis::{Cmd, Value};

pub(super) const PARTITIONS: usize = 64;
const CONTENT: &str = "Is the tea still warm, or shall I put the kettle on again before you come?";
/// As `role::ranks_as_lua` writes them.
const RANKS_LUA: &str = "local ALWAYS, ANYONE, REMOVED = -2, -1, 'removed'\n\
    local function rank(role) return ({owner = 3, admin = 2, member = 1, guest = 0})[role] or 1 end\n";
/// The check that each script of a cluster begins with. The last two keys are `{p}:epoch` and a key that never exists.
const EPOCH_CHECK_LUA: &str = "local last = #KEYS\n\
    if redis.call('GET', KEYS[last - 1]) ~= EPOCH then return {'epoch'} end\n\
    KEYS[last - 1], KEYS[last] = nil, nil\n";
/// The commands of append_many.lua for one message, without its decisions. The first two arguments are the present
/// window of client ids and the window before it.
const COMMANDS_LUA: &str = r"
    local ingest_key, sent_key, room_key, tail_key, erased_key = unpack(KEYS)
    local window = sent_key .. ARGV[1]
    redis.call('TIME')
    redis.call('XLEN', ingest_key)
    redis.call('HMGET', window, 'earlier', 'later', 'bytes', 'new_from', 'ahead', ARGV[9])
    redis.call('HMGET', sent_key .. ARGV[2], 'earlier', ARGV[9])
    redis.call('HMGET', room_key, 'seq', 'epoch', 'archived', 'slow_mode_s', 'tail_part', 'tail_parts', 'touched_at',
      ARGV[10])
    redis.call('EXISTS', erased_key)
    local record = '1\0311\0311000\0311700000000000\031' .. ARGV[12] .. '\n' .. ARGV[8] ..
      '1000,\034at\034:\0342026-01-31T23:59:59.000Z\034' .. ARGV[13]
    redis.call('XADD', tail_key, 'MAXLEN', '256', '*', 'r', record)
    local id = redis.call('XADD', ingest_key, '*', 'r', record)
    redis.call('HSET', room_key, 'seq', '1000', 'tail_part', '10 6000 6000')
    redis.call('PUBLISH', room_key, record)
    redis.call('HSET', window, 'last', id, 'bytes', '6000', ARGV[9], '1000 1 1700000000000 ' .. id .. ' ' .. ARGV[14])
    return {0, 1, id}";

/// How the messages of a round are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// One call appends all messages.
    OneCall,
    /// One call for each partition, all in one pipeline.
    CallPerPartition,
    /// As [`Variant::CallPerPartition`], with the check of the epoch's key and a key that never exists.
    WithEpochCheck,
    /// A script that only runs the commands. No script for one message can cost less.
    CommandsOnly,
    /// A script that returns at once: the cost of a call with these arguments.
    EmptyScript,
}

impl Variant {
    pub const ALL: [Variant; 5] = [
        Variant::OneCall,
        Variant::CallPerPartition,
        Variant::WithEpochCheck,
        Variant::CommandsOnly,
        Variant::EmptyScript,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Variant::OneCall => "one call",
            Variant::CallPerPartition => "a call per partition",
            Variant::WithEpochCheck => "a call per partition, with {p}:epoch",
            Variant::CommandsOnly => "a call per partition, the commands only",
            Variant::EmptyScript => "a call per partition, an empty script",
        }
    }

    /// The text of the script.
    ///
    /// # Errors
    /// When a file of the log cannot be read.
    pub fn text(self) -> Result<String> {
        let check = match self {
            Variant::OneCall | Variant::CallPerPartition => "",
            Variant::WithEpochCheck => EPOCH_CHECK_LUA,
            Variant::CommandsOnly => return Ok(COMMANDS_LUA.to_owned()),
            Variant::EmptyScript => return Ok("return {0, 1, '0-0'}".to_owned()),
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src/log");
        let mut text = ["local EPOCH = '1'\n", check, RANKS_LUA].concat();
        for name in ["rfc3339.lua", "tail.lua", "client_ids.lua", "append_many.lua"] {
            let file = folder.join(name);
            text += &std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        }
        Ok(text)
    }

    /// The keys of all rooms, which are also their channels.
    pub fn room_keys() -> impl Iterator<Item = String> {
        let of_variant = |variant: Variant| (0..PARTITIONS).map(move |at| variant.room_key(at));
        of_variant(Variant::OneCall).chain(of_variant(Variant::CommandsOnly))
    }

    /// The id of the room in a partition. [`Variant::CommandsOnly`] has its own rooms, because it writes wrong heads.
    fn room(self, partition: usize) -> String {
        let kind = u8::from(self == Variant::CommandsOnly);
        format!("01990000-0000-7000-800{kind}-{partition:012}")
    }

    fn room_key(self, partition: usize) -> String {
        format!("{{{partition:02}}}:room:{}", self.room(partition))
    }
}

/// A call that appends the messages with these numbers, each in another partition.
pub(super) struct AppendCall<'a> {
    pub variant: Variant,
    pub sha: &'a str,
    pub numbers: &'a [usize],
}

impl AppendCall<'_> {
    /// Creates the call with the arguments of append_many.lua.
    pub fn command(&self) -> Cmd {
        let variant = self.variant;
        let partitions: Vec<usize> = self.numbers.iter().map(|number| number % PARTITIONS).collect();
        let mut keys = Vec::new();
        for partition in &partitions {
            keys.extend(["ingest", "sent"].map(|name| format!("{{{partition:02}}}:{name}")));
        }
        for partition in &partitions {
            keys.push(variant.room_key(*partition));
            keys.push(format!("{{{partition:02}}}:tail:{}", variant.room(*partition)));
        }
        keys.extend(partitions.iter().map(|partition| format!("{{{partition:02}}}:erased:alice")));
        if variant == Variant::WithEpochCheck {
            keys.extend(["epoch", "never"].map(|name| format!("{{{:02}}}:{name}", partitions[0])));
        }
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.sha).arg(keys.len()).arg(&keys);
        let now = chrono::Utc::now();
        let window = now.timestamp() / super::WINDOW_S;
        if variant == Variant::CommandsOnly {
            command.arg(format!(":{window}")).arg(format!(":{}", window - 1));
        } else {
            command.arg(now.timestamp()).arg(now.format("%Y-%m-%dT%H:%M:%S").to_string());
        }
        command.arg("100000").arg("67108864").arg(partitions.len());
        for (number, partition) in self.numbers.iter().zip(&partitions) {
            add_message(&mut command, *number, &variant.room(*partition));
        }
        command
    }
}

/// Adds the arguments of one partition with one room and one message.
fn add_message(command: &mut Cmd, number: usize, room: &str) {
    let client_id = format!("01990000-0000-7000-9000-{number:012}");
    // The time in the client id, as the gateway passes it for a first attempt.
    let id_ms = format!("-{}", 0x0199_0000_0000_u64);
    let id = format!("01990000-0000-7000-a000-{number:012}");
    let header = [room, "message:new", "alice", &client_id, &id, "", "", ""].join("\u{1f}");
    let json = format!(
        r#","id":"{id}","client_id":"{client_id}","sender":{{"id":"alice","name":"Alice"}},"content":"{CONTENT}"}}"#
    );
    command.arg("1").arg("1").arg(format!(r#"{{"type":"message:new","room":"{room}","seq":"#));
    command.arg(format!("{room}\u{1f}alice\u{1f}{client_id}")).arg("mark:alice").arg("1");
    command.arg(header).arg(json).arg(id).arg(id_ms);
}

/// Whether the answer of a script says that it has appended this many messages.
pub(super) fn is_appended(answer: &Value, messages: usize) -> bool {
    let Value::Array(parts) = answer else { return false };
    let seqs = || parts.iter().skip(1).step_by(2);
    parts.len() == 1 + 2 * messages && seqs().all(|seq| matches!(seq, Value::Int(seq) if *seq > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_with_a_missing_message_is_not_appended() {
        let id = || Value::BulkString(b"1-0".to_vec());
        let answer = |seq| Value::Array(vec![Value::Int(5), Value::Int(7), id(), Value::Int(seq), id()]);
        assert!(is_appended(&answer(1), 2));
        assert!(!is_appended(&answer(0), 2) && !is_appended(&answer(1), 3));
        assert!(!is_appended(&Value::Array(vec![Value::Int(5)]), 1) && !is_appended(&Value::Nil, 0));
    }

    #[test]
    fn call_declares_keys_of_its_variant() {
        let numbers = [3, 4];
        let keys = |variant| AppendCall { variant, sha: "", numbers: &numbers }.command().args_iter().count();
        // EVALSHA, the script, the number of keys, 10 keys, 5 arguments, and 10 for each message.
        assert_eq!(keys(Variant::OneCall), 3 + 10 + 5 + 20);
        assert_eq!(keys(Variant::WithEpochCheck), 3 + 12 + 5 + 20);
    }
}
