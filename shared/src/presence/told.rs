//! What is told of a user: `1 <user> <o|a|-> <seen ms> <room> …`, the rooms being those whose members are told; as it
//! is published, its id in the stream of its partition stands before it. No id holds a space.

use redis::{RedisError, aio::MultiplexedConnection};

use super::{PARTITIONS, Partition, State, of_letter};
use crate::{ids::UserId, log::IngestId, protocol::server::Presence};

/// Changes read in one go, of each partition: as many as are kept.
const READ_AT_ONCE: usize = 1000;

/// A change as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place among the changes of its partition.
    pub id: IngestId,
    pub user: UserId,
    pub state: State,
    text: String,
    /// Where the rooms begin.
    rooms: usize,
}

impl Told {
    /// Reads what was published. `None`: of another form.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (id, text) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        Self::of_entry(id, text.to_owned())
    }

    fn of_entry(id: &str, text: String) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        if parts.next()? != "1" {
            return None;
        }
        let user = UserId::parse(parts.next()?).ok()?;
        let status = match parts.next()? {
            "-" => None,
            letter => Some(of_letter(letter)?),
        };
        let last_seen_ms = parts.next()?.parse().ok().filter(|ms| *ms > 0);
        let rooms = text.len() - parts.next().map_or(0, str::len);
        Some(Self { id: id.parse().ok()?, user, state: State { status, last_seen_ms }, text, rooms })
    }

    /// The partition in whose order it stands.
    #[must_use]
    pub fn partition(&self) -> Partition {
        Partition::of(&self.user)
    }

    /// The rooms whose members are told.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.text[self.rooms..].split(' ').filter(|room| !room.is_empty())
    }

    /// As others are told.
    #[must_use]
    pub fn on_the_wire(&self) -> Presence {
        self.state.on_the_wire(self.user.clone())
    }
}

/// What was told after these places, one for each partition, as far as it is kept.
///
/// # Errors
/// When Redis does not answer.
pub async fn missed(
    connection: &mut MultiplexedConnection,
    after: &[IngestId; PARTITIONS as usize],
) -> Result<Vec<Told>, RedisError> {
    let mut pipe = redis::pipe();
    for (partition, after) in Partition::all().zip(after) {
        pipe.cmd("XRANGE").arg(partition.told()).arg(format!("({after}")).arg("+");
        pipe.arg("COUNT").arg(READ_AT_ONCE);
    }
    let entries: Vec<Vec<(String, Vec<String>)>> = pipe.query_async(connection).await?;
    let told = |(id, mut fields): (String, Vec<String>)| Told::of_entry(&id, fields.pop()?);
    Ok(entries.into_iter().flatten().filter_map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Status;

    #[test]
    fn what_is_published_is_read_back() {
        let told = Told::parse(b"7-1 1 |trey| o 0 a:b c").unwrap();
        assert_eq!((told.user.as_str(), told.state.status), ("|trey|", Some(Status::Online)));
        assert_eq!((told.rooms().collect::<Vec<_>>(), told.state.last_seen_ms), (vec!["a:b", "c"], None));
        assert_eq!(told.id, IngestId { ms: 7, n: 1 });
        let told = Told::parse("7-1 1 Zoë - 1700000000123".as_bytes()).unwrap();
        assert_eq!((told.rooms().count(), told.state.status), (0, None));
        assert_eq!(told.on_the_wire().last_seen.as_deref(), Some("2023-11-14T22:13:20.123Z"));
        for wrong in ["", "7-1 2 a o 0 r", "7-1 1 a x 0 r", "7-1 1 a o", "7-1 1  o 0", "x 1 a o 0 r"] {
            assert_eq!(Told::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
