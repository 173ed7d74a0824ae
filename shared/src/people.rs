//! The channel of a user: what reaches all connections of one person on all nodes, joined to rooms or not.
//!
//! Live only, as all pub/sub: a node that may have missed something compares the version of the user's rooms.

use bytes::Bytes;
use redis::{RedisError, aio::MultiplexedConnection};

use crate::ids::{RoomId, Seq, UserId};

/// Prefix of these channels; no other channel begins so.
pub const CHANNEL_PREFIX: &str = "user:";

/// Name of a user's channel.
#[must_use]
pub fn channel(user: &UserId) -> String {
    format!("{CHANNEL_PREFIX}{user}")
}

/// What is told to a user's connections. On the channel: one line that says what it is, then the frame's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A finished frame for all connections.
    Frame(Bytes),
    /// A read mark of one's own, as a finished frame. Connections that hear of `room` get it with the room's receipts
    /// where `pushed` says that these are pushed there.
    Read { room: RoomId, pushed: bool, frame: Bytes },
    /// Memberships changed at `seq` of `room`, and the frame tells it. The connections' list of rooms is another.
    Membership { room: RoomId, seq: Seq, frame: Bytes },
    /// The account changed: it is to be read again, and the connections of someone who is blocked or gone are closed.
    Account,
}

impl Notice {
    #[must_use]
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

    /// `None`: of another form.
    #[must_use]
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

/// Tells each of these users something.
///
/// # Errors
/// When Redis did not take it.
pub async fn tell<'a>(
    connection: &mut MultiplexedConnection,
    notices: impl IntoIterator<Item = (&'a UserId, &'a Notice)>,
) -> Result<(), RedisError> {
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
    fn a_notice_is_read_back() {
        let (room, frame) = (RoomId::parse("a:b").unwrap(), Bytes::from_static(b"{\"type\":\"x\"}\n"));
        for notice in [
            Notice::Frame(frame.clone()),
            Notice::Read { room: room.clone(), pushed: true, frame: frame.clone() },
            Notice::Membership { room, seq: Seq(7), frame },
            Notice::Account,
        ] {
            assert_eq!(Notice::parse(&notice.encode().into()), Some(notice));
        }
        for wrong in ["", "account", "read\n", "read a\n{}", "membership r x\n{}", "other\n"] {
            assert_eq!(Notice::parse(&Bytes::from(wrong)), None, "{wrong:?}");
        }
    }
}
