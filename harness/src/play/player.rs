//! Whoever plays a person: the harness's own client, or the TypeScript kit's. One and the same for the direction.

use std::sync::Arc;
use std::time::Duration;

use super::heard::Heard;
use super::kit::{Kit, KitPerson};
use crate::frames::Cursor;
use crate::listener::{Begin, Hearing, Listener, Nodes, Sent, lock};
use crate::recorder::Interner;

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Which client plays.
#[derive(Clone, Default)]
pub enum Players {
    /// The harness's own.
    #[default]
    Harness,
    /// The TypeScript kit, in a process of its own.
    Kit(Arc<Kit>),
}

impl Players {
    /// Somebody who prefers the gateway of this number; not there until they come.
    pub(super) fn hire(
        &self,
        user: &str,
        room: &str,
        nodes: &Arc<Nodes>,
        number: usize,
        hearing: Hearing,
    ) -> Player {
        match self {
            Players::Harness => {
                Player::Harness(Listener::new(user, Arc::clone(nodes), number, Some(hearing)))
            }
            Players::Kit(kit) => Player::Kit(kit.hire(user, room, nodes, number, hearing)),
        }
    }
}

/// One person's client.
pub enum Player {
    /// The harness's own.
    Harness(Listener),
    /// The TypeScript kit's.
    Kit(KitPerson),
}

impl Player {
    /// Comes into the room, and waits until the connection stands, or it takes too long to wait for it: from the room's
    /// creation on, or with its last page.
    pub(super) async fn come(&self, room: &str, head: Option<&Cursor>, interner: &Arc<Interner>) {
        let listener = match self {
            Player::Harness(listener) => listener,
            Player::Kit(person) => {
                // Later than that it comes by itself.
                let _ = tokio::time::timeout(CONNECT_PATIENCE, person.come()).await;
                return;
            }
        };
        if listener.record(room).is_none() {
            let begin = head.map_or(Begin::Load, |head| Begin::At(head.clone()));
            listener.join(room, begin, Arc::clone(interner));
        }
        listener.online();
        let deadline = tokio::time::Instant::now() + CONNECT_PATIENCE;
        while !listener.is_connected()
            && listener.failed().is_none()
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    /// Goes, and stays away until they come again.
    pub(super) fn go(&self) {
        match self {
            Player::Harness(listener) => listener.offline(),
            Player::Kit(person) => person.go(),
        }
    }

    /// Says something, until it is stored.
    pub(super) async fn say(&self, room: &str, text: &str) -> Result<Sent, String> {
        match self {
            Player::Harness(listener) => listener.send(room, text).await,
            Player::Kit(person) => person.say(text).await,
        }
    }

    /// How far they have come in the room.
    pub(super) fn seq(&self, room: &str) -> u64 {
        match self {
            Player::Harness(listener) => listener.cursor(room).map_or(0, |cursor| cursor.seq),
            Player::Kit(person) => person.seq(),
        }
    }

    /// Whether they came last, and did not go.
    pub(super) fn is_here(&self) -> bool {
        match self {
            Player::Harness(listener) => listener.is_wanted_online(),
            Player::Kit(person) => person.is_here(),
        }
    }

    /// How often they connected.
    pub(super) fn connections(&self) -> u64 {
        match self {
            Player::Harness(listener) => listener.connections(),
            Player::Kit(person) => person.connections(),
        }
    }

    /// All they hold of the room; `None` when they never came. And what else went wrong.
    pub(super) async fn heard(&self, room: &str, interner: &Interner) -> (Option<Heard>, Vec<String>) {
        match self {
            Player::Harness(listener) => {
                let heard = listener.record(room).map(|record| Heard::from(&*lock(&record)));
                (heard, listener.broken_rules().into_iter().chain(listener.failed()).collect())
            }
            Player::Kit(person) => match person.heard(interner).await {
                Ok((heard, broken)) => (heard, broken),
                Err(why) => (None, vec![why]),
            },
        }
    }
}
