//! The commands of the pub/sub connection, and the meaning of their replies. After each batch of commands comes a PING
//! with a token. When the reply with the token arrives, the channels with a confirmation are subscribed, and Redis has
//! refused the others. So replies are neither counted nor matched to commands. Pure.

use std::collections::{BTreeMap, HashSet};

use bytes::BytesMut;

use crate::log::{
    keys::{Partition, PartitionSet},
    layout::Layout,
};

/// A value from Redis that is no published message. Values that the connection does not need are left out, such as the
/// answer to HELLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The connection is subscribed to this channel.
    Subscribed(String),
    /// The subscription to this channel has ended, with or without a request.
    Unsubscribed(String),
    /// A string, such as the answer to INFO or to PING with a token.
    Text(String),
    Error(String),
}

/// Appends the commands that end subscriptions and begin others: SSUBSCRIBE in a cluster, else SUBSCRIBE.
pub fn encode_changes(layout: Layout, added: &[&str], removed: &[&str], output: &mut BytesMut) {
    let (unsubscribe, subscribe) = match layout {
        Layout::Single => ("UNSUBSCRIBE", "SUBSCRIBE"),
        Layout::Cluster => ("SUNSUBSCRIBE", "SSUBSCRIBE"),
    };
    encode_channels(layout, unsubscribe, removed, output);
    encode_channels(layout, subscribe, added, output);
}

/// Appends nothing without channels, because an UNSUBSCRIBE without channels would end all subscriptions.
fn encode_channels(layout: Layout, command: &str, channels: &[&str], output: &mut BytesMut) {
    match layout {
        Layout::Single if channels.is_empty() => {}
        Layout::Single => encode_command(&[&[command][..], channels].concat(), output),
        Layout::Cluster => {
            // Redis refuses a command with channels of two slots. Channels with the same tag are in one slot.
            let mut commands: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for &channel in channels {
                commands.entry(hash_tag(channel)).or_insert_with(|| vec![command]).push(channel);
            }
            commands.values().for_each(|words| encode_command(words, output));
        }
    }
}

/// The part of a channel's name that decides its slot: the text between the first braces, or the whole name.
fn hash_tag(channel: &str) -> &str {
    let braces = channel.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    braces.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(channel)
}

/// Appends a command, as an array of bulk strings.
pub fn encode_command(words: &[&str], output: &mut BytesMut) {
    output.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        output.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Appends the commands that select RESP3, authenticate the user if there is a password, name the connection if it has
/// a name, and ask for the process.
pub fn encode_handshake(
    user: Option<&str>,
    password: Option<&str>,
    name: Option<&str>,
    output: &mut BytesMut,
) {
    let mut hello = vec!["HELLO", "3"];
    if let Some(password) = password {
        hello.extend(["AUTH", user.unwrap_or("default"), password]);
    }
    if let Some(name) = name {
        hello.extend(["SETNAME", name]);
    }
    encode_command(&hello, output);
    encode_command(&["INFO", "server"], output);
}

/// The id of the Redis process in an answer to INFO.
pub fn run_id(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim)
}

/// Subscriptions that change together, and what Redis has replied about them.
#[derive(Debug)]
pub struct Batch<'a> {
    removed: HashSet<&'a str>,
    /// The added channels without a confirmation. When the reply with the token arrives, Redis has refused them.
    pub unconfirmed: HashSet<&'a str>,
    /// Channels whose subscriptions Redis has ended without a request.
    pub lost: Vec<String>,
    /// The first error.
    pub error: Option<String>,
}

impl<'a> Batch<'a> {
    /// No channel may be in both lists.
    pub fn new(added: &[&'a str], removed: &[&'a str]) -> Self {
        let (unconfirmed, removed) = (added.iter().copied().collect(), removed.iter().copied().collect());
        Self { removed, unconfirmed, lost: Vec::new(), error: None }
    }

    /// Applies a reply that arrived between the commands and the reply with the token.
    pub fn apply(&mut self, reply: Reply) {
        match reply {
            Reply::Subscribed(channel) => {
                self.unconfirmed.remove(channel.as_str());
            }
            Reply::Unsubscribed(channel) if self.removed.contains(channel.as_str()) => {}
            // Messages may be lost even if a later reply confirms the channel.
            Reply::Unsubscribed(channel) => self.lost.push(channel),
            Reply::Error(error) => {
                self.error.get_or_insert(error);
            }
            Reply::Text(_) => {}
        }
    }

    /// The partitions with a channel that Redis has refused or ended.
    pub fn lost_partitions(&self) -> PartitionSet {
        let lost = self.lost.iter().map(String::as_str).chain(self.unconfirmed.iter().copied());
        lost.map(Partition::of_channel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encode: impl FnOnce(&mut BytesMut)) -> String {
        let mut output = BytesMut::new();
        encode(&mut output);
        String::from_utf8(output.to_vec()).unwrap()
    }

    fn encoded_changes(layout: Layout, added: &[&str], removed: &[&str]) -> String {
        encoded(|output| encode_changes(layout, added, removed, output))
    }

    /// A batch that adds two channels of one slot and one of another, after these replies.
    fn after(replies: impl IntoIterator<Item = Reply>) -> Batch<'static> {
        let mut batch = Batch::new(&["{01}:a", "{01}:b", "{02}:c"], &["{03}:d"]);
        replies.into_iter().for_each(|reply| batch.apply(reply));
        batch
    }

    fn subscribed(channel: &str) -> Reply {
        Reply::Subscribed(channel.to_owned())
    }

    fn unsubscribed(channel: &str) -> Reply {
        Reply::Unsubscribed(channel.to_owned())
    }

    #[test]
    fn plain_channels_share_a_command() {
        assert_eq!(
            encoded_changes(Layout::Single, &["room", "\u{e9}"], &["old"]),
            "*2\r\n$11\r\nUNSUBSCRIBE\r\n$3\r\nold\r\n\
             *3\r\n$9\r\nSUBSCRIBE\r\n$4\r\nroom\r\n$2\r\n\u{e9}\r\n"
        );
    }

    #[test]
    fn sharded_channels_of_one_slot_share_a_command() {
        assert_eq!(
            encoded_changes(Layout::Cluster, &["{02}:c", "{01}:a", "{02}:d"], &["{01}:e"]),
            "*2\r\n$12\r\nSUNSUBSCRIBE\r\n$6\r\n{01}:e\r\n\
             *2\r\n$10\r\nSSUBSCRIBE\r\n$6\r\n{01}:a\r\n\
             *3\r\n$10\r\nSSUBSCRIBE\r\n$6\r\n{02}:c\r\n$6\r\n{02}:d\r\n"
        );
        for (channel, tag) in [("{07}:room:{x}", "07"), ("{}:x", "{}:x"), ("{x", "{x"), ("x}{y}", "y")] {
            assert_eq!(hash_tag(channel), tag);
        }
    }

    #[test]
    fn changes_without_channels_need_no_command() {
        for layout in [Layout::Single, Layout::Cluster] {
            assert_eq!(encoded_changes(layout, &[], &[]), "");
        }
    }

    #[test]
    fn handshake_authenticates_only_with_a_password() {
        let hello = |user, password| encoded(|output| encode_handshake(user, password, None, output));
        let info = "*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
        let plain = format!("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n{info}");
        assert_eq!([hello(None, None), hello(Some("me"), None)], [plain.clone(), plain]);
        let with = |user: &str| {
            let user = format!("${}\r\n{user}\r\n", user.len());
            format!("*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n{user}$3\r\np:\n\r\n{info}")
        };
        assert_eq!(hello(Some("me"), Some("p:\n")), with("me"));
        assert_eq!(hello(None, Some("p:\n")), with("default"));
        let named = encoded(|output| encode_handshake(None, None, Some("a:b"), output));
        let set_name = "*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$7\r\nSETNAME\r\n$3\r\na:b\r\n";
        assert_eq!(named, format!("{set_name}{info}"));
    }

    #[test]
    fn run_id_is_found_among_the_lines_of_info() {
        assert_eq!(run_id("txt:# Server\r\nredis_version:7\r\nrun_id:abc\r\n"), Some("abc"));
        assert_eq!(run_id("redis_version:7\r\n"), None);
    }

    #[test]
    fn confirmed_batch_has_neither_refused_nor_lost_channels() {
        let batch = after([
            unsubscribed("{03}:d"),
            subscribed("{02}:c"),
            subscribed("{01}:a"),
            unsubscribed("{03}:d"),
            subscribed("{01}:b"),
        ]);
        assert!(batch.unconfirmed.is_empty() && batch.lost.is_empty() && batch.error.is_none(), "{batch:?}");
    }

    #[test]
    fn channel_without_confirmation_was_refused() {
        let batch = after([subscribed("{01}:a"), subscribed("{02}:c")]);
        assert_eq!(batch.unconfirmed, HashSet::from(["{01}:b"]));
    }

    #[test]
    fn moved_error_loses_its_slot_only() {
        let moved = "MOVED 7365 127.0.0.1:7001";
        for error_first in [true, false] {
            let mut replies = vec![subscribed("{02}:c"), Reply::Error(moved.to_owned())];
            if error_first {
                replies.reverse();
            }
            let batch = after(replies);
            assert_eq!(batch.unconfirmed, HashSet::from(["{01}:a", "{01}:b"]));
            assert_eq!((batch.error.as_deref(), batch.lost.len()), (Some(moved), 0));
            assert_eq!(batch.lost_partitions(), PartitionSet::from(Partition(1)));
        }
    }

    #[test]
    fn channel_unsubscribed_before_its_confirmation_is_lost() {
        let batch = after([unsubscribed("{01}:a"), subscribed("{01}:a"), unsubscribed("{09}:other")]);
        assert_eq!(batch.lost, ["{01}:a", "{09}:other"]);
        assert_eq!(batch.unconfirmed, HashSet::from(["{01}:b", "{02}:c"]));
        assert_eq!(batch.lost_partitions(), [1, 2, 9].into_iter().map(Partition).collect::<PartitionSet>());
    }
}
