//! The pub/sub channel of a user: notices for all connections of one user on all nodes, whether they joined rooms or
//! not.
//!
//! Pub/sub messages can be lost: a node that may have missed a notice compares the version of the user's rooms.

use bytes::Bytes;
use redis::{RedisResult, aio::MultiplexedConnection as Connection};

use crate::ids::{RoomId, Seq, UserId};

/// Prefix of the users' channels; no other channel has this prefix.
pub const CHANNEL_PREFIX: &str = "user:";

/// The name of a user's channel.
pub fn channel(user: &UserId) -> String {
    format!("{CHANNEL_PREFIX}{user}")
}

/// A notice for the connections of a user. Its form on the channel is one line with the kind, then the JSON of the
/// frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserNotice {
    /// A finished frame for all connections.
    Frame(Bytes),
    /// A read mark of the user, as a finished frame. If `pushed`, receipts are pushed in this room, and connections
    /// that are joined to the room get the mark with those receipts.
    Read { room: RoomId, pushed: bool, frame: Bytes },
    /// The user's membership of `room` changed at `seq`, as the frame says. So the user's list of rooms has changed.
    Membership { room: RoomId, seq: Seq, frame: Bytes },
    /// The account changed: read it again, and close the connections if the user is blocked or does not exist any more.
    Account,
}

impl UserNotice {
    pub fn encode(&self) -> Vec<u8> {
        let (head, frame) = match self {
            Self::Frame(frame) => ("frame".to_owned(), frame.as_ref()),
            Self::Read { room, pushed, frame } => {
                (format!("read {room} {}", u8::from(*pushed)), frame.as_ref())
            }
            Self::Membership { room, seq, frame } => (format!("membership {room} {seq}"), frame.as_ref()),
            Self::Account => ("account".to_owned(), &b""[..]),
        };
        [head.as_bytes(), b"\n", frame].concat()
    }

    /// Parses a payload; `None`: malformed.
    pub fn parse(payload: &Bytes) -> Option<Self> {
        let end = payload.iter().position(|byte| *byte == b'\n')?;
        let frame = payload.slice(end + 1..);
        let mut head = std::str::from_utf8(&payload[..end]).ok()?.split(' ');
        let kind = head.next()?;
        let mut room = || RoomId::parse(head.next()?).ok();
        Some(match kind {
            "frame" => Self::Frame(frame),
            "read" => Self::Read { room: room()?, pushed: head.next()? == "1", frame },
            "membership" => Self::Membership { room: room()?, seq: Seq(head.next()?.parse().ok()?), frame },
            "account" => Self::Account,
            _ => return None,
        })
    }
}

/// Publishes notices to users.
pub async fn publish<'a>(
    connection: &mut Connection,
    notices: impl IntoIterator<Item = (&'a UserId, &'a UserNotice)>,
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    for (user, notice) in notices {
        pipe.cmd("PUBLISH").arg(channel(user)).arg(notice.encode()).ignore();
    }
    if pipe.is_empty() { Ok(()) } else { pipe.query_async(connection).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_round_trips() {
        let (room, frame) = (RoomId::parse("a:b").unwrap(), Bytes::from_static(b"{\"type\":\"x\"}\n"));
        for notice in [
            UserNotice::Frame(frame.clone()),
            UserNotice::Read { room: room.clone(), pushed: true, frame: frame.clone() },
            UserNotice::Membership { room, seq: Seq(7), frame },
            UserNotice::Account,
        ] {
            assert_eq!(UserNotice::parse(&notice.encode().into()), Some(notice));
        }
        for wrong in ["", "account", "read\n", "read a\n{}", "membership r x\n{}", "other\n"] {
            assert_eq!(UserNotice::parse(&Bytes::from(wrong)), None, "{wrong:?}");
        }
    }
}
