//! A change of presence is the text `1 <user> <o|a|-> <last seen, ms> <room> …`, where `1` is the version of this form,
//! and `-` means offline. The members of the rooms receive the change. In the published payload, the text is preceded
//! by the id that the change has in the stream of its partition. No id contains a space.

use redis::RedisResult;

use super::{PARTITIONS, PresencePartition, PresenceState, status_of_letter};
use crate::{
    ids::UserId,
    log::{IngestId, RedisConnection as Connection},
    protocol::server::Presence,
};

/// Maximum number of changes of one partition that one call reads. The stream keeps about 500.
const MAX_CHANGES_READ: usize = 1000;

/// A published change of a user's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    /// The id of the change in the stream of its partition.
    pub id: IngestId,
    pub user: UserId,
    /// The new presence of the user.
    pub state: PresenceState,
    text: String,
    /// Offset of the rooms in `text`.
    rooms: usize,
}

impl PresenceChange {
    /// Parses a published payload; returns `None` if it is malformed.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (id, text) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        Self::of_entry(id, text.to_owned())
    }

    /// Parses a change with its id in the stream; returns `None` if it is malformed.
    fn of_entry(id: &str, text: String) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        if parts.next()? != "1" {
            return None;
        }
        let user = UserId::parse(parts.next()?).ok()?;
        let status = match parts.next()? {
            "-" => None,
            letter => Some(status_of_letter(letter)?),
        };
        let last_seen_ms = parts.next()?.parse().ok().filter(|ms| *ms > 0);
        let rooms = text.len() - parts.next().map_or(0, str::len);
        Some(Self { id: id.parse().ok()?, user, state: PresenceState { status, last_seen_ms }, text, rooms })
    }

    /// The partition of the user. Only changes of the same partition are ordered by their ids.
    pub fn partition(&self) -> PresencePartition {
        PresencePartition::of(&self.user)
    }

    /// The rooms whose members receive the change.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.text[self.rooms..].split(' ').filter(|room| !room.is_empty())
    }

    /// Converts the user's new presence into the form of a frame for other users.
    pub fn on_the_wire(&self) -> Presence {
        self.state.on_the_wire(self.user.clone())
    }
}

/// Reads the changes of partitions after the ids in `after`, which has one id for each of all partitions. Changes that
/// the streams have dropped are missing.
pub async fn changes_after(
    connection: &mut Connection,
    partitions: &[PresencePartition],
    after: &[IngestId; PARTITIONS as usize],
) -> RedisResult<Vec<PresenceChange>> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        let after = after[partition.index()];
        pipe.cmd("XRANGE").arg(partition.changes(connection.layout())).arg(format!("({after}")).arg("+");
        pipe.arg("COUNT").arg(MAX_CHANGES_READ);
    }
    let entries: Vec<Vec<(String, Vec<String>)>> = pipe.query_async(connection).await?;
    let change = |(id, mut fields): (String, Vec<String>)| PresenceChange::of_entry(&id, fields.pop()?);
    Ok(entries.into_iter().flatten().filter_map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Status;

    #[test]
    fn published_change_is_parsed() {
        let change = PresenceChange::parse(b"7-1 1 |trey| o 0 a:b c").unwrap();
        assert_eq!((change.user.as_str(), change.state.status), ("|trey|", Some(Status::Online)));
        assert_eq!((change.rooms().collect::<Vec<_>>(), change.state.last_seen_ms), (vec!["a:b", "c"], None));
        assert_eq!(change.id, IngestId { ms: 7, n: 1 });
        let change = PresenceChange::parse("7-1 1 Zoë - 1700000000123".as_bytes()).unwrap();
        assert_eq!((change.rooms().count(), change.state.status), (0, None));
        assert_eq!(change.on_the_wire().last_seen.as_deref(), Some("2023-11-14T22:13:20.123Z"));
        for wrong in ["", "7-1 2 a o 0 r", "7-1 1 a x 0 r", "7-1 1 a o", "7-1 1  o 0", "x 1 a o 0 r"] {
            assert_eq!(PresenceChange::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
