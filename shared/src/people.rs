//! The pub/sub channel of a user, which carries notices for all connections of the user on all nodes.
//!
//! Published notices can be lost. A node that may have missed a notice compares the versions of the user's memberships
//! and account with those it knows.

use bytes::Bytes;
use redis::RedisResult;

use crate::{
    ids::{RoomId, Seq, UserId},
    log::{
        Layout, RedisConnection as Connection,
        keys::{self, Partition},
    },
};

/// Prefix of the names of users' channels, after the tag of the partition. No other channel has this prefix.
const CHANNEL_PREFIX: &str = "user:";

/// The name of a user's channel.
pub fn channel(layout: Layout, user: &UserId) -> String {
    match layout {
        Layout::Single => format!("{CHANNEL_PREFIX}{user}"),
        Layout::Cluster => Partition::of_user(user).join_key(&[CHANNEL_PREFIX, user.as_str()]),
    }
}

/// Returns the user id in the name of a user's channel of any layout, or `None` if it is another channel.
pub fn user_of_channel(channel: &str) -> Option<&str> {
    keys::untagged(channel).unwrap_or(channel).strip_prefix(CHANNEL_PREFIX)
}

/// A notice for the connections of a user. Its payload is one line with kind and arguments, then the JSON of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserNotice {
    /// A finished frame for all connections of the user.
    Frame(Bytes),
    /// The user's read mark in a room has moved. `frame` is the finished receipt. If `pushed` is true, the receipt is
    /// also published in the room, so connections that have joined the room must not get it twice.
    Read { room: RoomId, pushed: bool, frame: Bytes },
    /// The event at `seq` changed the user's membership of `room`. `frame` contains the change.
    Membership { room: RoomId, seq: Seq, frame: Bytes },
    /// Stored events of this room concern the user. `frame` tells connections that have not joined the room.
    Activity { room: RoomId, frame: Bytes },
    /// The user's account changed. A node reads it again, and closes the connections of a blocked or deleted user.
    Account,
}

impl UserNotice {
    /// The payload to publish; [`UserNotice::parse`] reads it.
    pub fn encode(&self) -> Vec<u8> {
        let (head, frame) = match self {
            Self::Frame(frame) => ("frame".to_owned(), frame.as_ref()),
            Self::Read { room, pushed, frame } => {
                (format!("read {room} {}", u8::from(*pushed)), frame.as_ref())
            }
            Self::Membership { room, seq, frame } => (format!("membership {room} {seq}"), frame.as_ref()),
            // A gateway of the previous version ignores the last word, and treats the frame like a pushed read mark:
            // it sends the frame to connections that have not joined the room.
            Self::Activity { room, frame } => (format!("read {room} 1 activity"), frame.as_ref()),
            Self::Account => ("account".to_owned(), &b""[..]),
        };
        [head.as_bytes(), b"\n", frame].concat()
    }

    /// Parses a published payload; returns `None` if it is malformed.
    pub fn parse(payload: &Bytes) -> Option<Self> {
        let end = payload.iter().position(|byte| *byte == b'\n')?;
        let frame = payload.slice(end + 1..);
        let mut head = std::str::from_utf8(&payload[..end]).ok()?.split(' ');
        let kind = head.next()?;
        let mut room = || RoomId::parse(head.next()?).ok();
        Some(match kind {
            "frame" => Self::Frame(frame),
            "read" => {
                let (room, pushed) = (room()?, head.next()? == "1");
                match head.next() {
                    Some("activity") => Self::Activity { room, frame },
                    _ => Self::Read { room, pushed, frame },
                }
            }
            "membership" => Self::Membership { room: room()?, seq: Seq(head.next()?.parse().ok()?), frame },
            "account" => Self::Account,
            _ => return None,
        })
    }
}

/// Publishes notices on the channels of users. A notice is lost for nodes that are not connected.
pub async fn publish<'a>(
    connection: &mut Connection,
    notices: impl IntoIterator<Item = (&'a UserId, &'a UserNotice)>,
) -> RedisResult<()> {
    let layout = connection.layout();
    let mut pipe = redis::pipe();
    for (user, notice) in notices {
        pipe.cmd(layout.publish_command()).arg(channel(layout, user)).arg(notice.encode()).ignore();
    }
    if pipe.is_empty() { Ok(()) } else { pipe.query_async(connection).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_of_a_user_round_trips_in_both_layouts() {
        for id in ["alice", "}bob", "a}:room:b", "user:x", "é"] {
            let user = UserId::parse(id).unwrap();
            for layout in [Layout::Single, Layout::Cluster] {
                let channel = channel(layout, &user);
                assert_eq!(user_of_channel(&channel), Some(id), "{channel}");
                assert_eq!(keys::room_of_channel(&channel), None, "{channel}");
            }
        }
        let alice = UserId::parse("alice").unwrap();
        assert_eq!(channel(Layout::Single, &alice), "user:alice");
        assert_eq!(channel(Layout::Cluster, &alice), "{07}:user:alice");
        assert_eq!(user_of_channel("{07}:room:user:x"), None);
    }

    #[test]
    fn notice_round_trips() {
        let (room, frame) = (RoomId::parse("a:b").unwrap(), Bytes::from_static(b"{\"type\":\"x\"}\n"));
        for notice in [
            UserNotice::Frame(frame.clone()),
            UserNotice::Read { room: room.clone(), pushed: true, frame: frame.clone() },
            UserNotice::Membership { room: room.clone(), seq: Seq(7), frame: frame.clone() },
            UserNotice::Activity { room, frame },
            UserNotice::Account,
        ] {
            assert_eq!(UserNotice::parse(&notice.encode().into()), Some(notice));
        }
        for malformed in ["", "account", "read\n", "read a\n{}", "membership r x\n{}", "other\n"] {
            assert_eq!(UserNotice::parse(&Bytes::from(malformed)), None, "{malformed:?}");
        }
    }
}
