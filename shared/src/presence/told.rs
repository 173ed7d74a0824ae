//! What is published of a user: `1 <user> <o|a|-> <seen ms> <room> …`, the rooms being those whose members are told.
//! No id holds a space.

use super::{State, of_letter};
use crate::{ids::UserId, protocol::server::Presence};

/// A change as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub user: UserId,
    pub state: State,
    payload: String,
    /// Where the rooms begin.
    rooms: usize,
}

impl Told {
    /// `None`: of another form.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let payload = std::str::from_utf8(payload).ok()?.to_owned();
        let mut parts = payload.splitn(5, ' ');
        if parts.next()? != "1" {
            return None;
        }
        let user = UserId::parse(parts.next()?).ok()?;
        let status = match parts.next()? {
            "-" => None,
            letter => Some(of_letter(letter)?),
        };
        let last_seen_ms = parts.next()?.parse().ok().filter(|ms| *ms > 0);
        let rooms = payload.len() - parts.next().map_or(0, str::len);
        Some(Self { user, state: State { status, last_seen_ms }, payload, rooms })
    }

    /// The rooms whose members are told.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.payload[self.rooms..].split(' ').filter(|room| !room.is_empty())
    }

    /// As others are told.
    #[must_use]
    pub fn on_the_wire(&self) -> Presence {
        self.state.on_the_wire(self.user.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Status;

    #[test]
    fn what_is_published_is_read_back() {
        let told = Told::parse(b"1 |trey| o 0 a:b c").unwrap();
        assert_eq!((told.user.as_str(), told.state.status), ("|trey|", Some(Status::Online)));
        assert_eq!((told.rooms().collect::<Vec<_>>(), told.state.last_seen_ms), (vec!["a:b", "c"], None));
        let told = Told::parse("1 Zoë - 1700000000123".as_bytes()).unwrap();
        assert_eq!((told.rooms().count(), told.state.status), (0, None));
        assert_eq!(told.on_the_wire().last_seen.as_deref(), Some("2023-11-14T22:13:20.123Z"));
        for wrong in ["", "2 a o 0 r", "1 a x 0 r", "1 a o", "1  o 0"] {
            assert_eq!(Told::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
