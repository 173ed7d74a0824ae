//! The client of a user: that of the harness, or of the TypeScript kit, with the same interface.

use std::sync::Arc;
use std::time::Duration;

use super::heard::Heard;
use super::kit::{Kit, KitPerson};
use crate::frames::Cursor;
use crate::listener::{Begin, LatencyObserver, Listener, Nodes, Sent, lock};
use crate::recorder::Interner;

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Which client plays.
#[derive(Clone, Default)]
pub enum Players {
    /// The client of the harness.
    #[default]
    Harness,
    /// The TypeScript kit, in a separate process.
    Kit(Arc<Kit>),
}

impl Players {
    /// Creates a user who prefers the gateway of this number; offline at first.
    pub(super) fn hire(
        &self,
        user: &str,
        room: &str,
        nodes: &Arc<Nodes>,
        number: usize,
        on_latency: LatencyObserver,
    ) -> Player {
        match self {
            Players::Harness => {
                Player::Harness(Listener::new(user, Arc::clone(nodes), number, Some(on_latency)))
            }
            Players::Kit(kit) => Player::Kit(kit.hire(user, room, nodes, number, on_latency)),
        }
    }
}

/// One user's client.
pub enum Player {
    /// The client of the harness.
    Harness(Listener),
    /// A client of the TypeScript kit.
    Kit(KitPerson),
}

impl Player {
    /// Joins the room, from its creation on or with its last page, and waits for the connection for a limited time.
    pub(super) async fn come(&self, room: &str, head: Option<&Cursor>, interner: &Arc<Interner>) {
        let listener = match self {
            Player::Harness(listener) => listener,
            Player::Kit(person) => {
                // After the timeout it connects in the background.
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

    /// Goes offline until the next [`Player::come`].
    pub(super) fn go(&self) {
        match self {
            Player::Harness(listener) => listener.offline(),
            Player::Kit(person) => person.go(),
        }
    }

    /// Sends a message, and repeats it until it is stored.
    pub(super) async fn say(&self, room: &str, text: &str) -> Result<Sent, String> {
        match self {
            Player::Harness(listener) => listener.send(room, text).await,
            Player::Kit(person) => person.say(text).await,
        }
    }

    /// Its position in the room.
    pub(super) fn seq(&self, room: &str) -> u64 {
        match self {
            Player::Harness(listener) => listener.cursor(room).map_or(0, |cursor| cursor.seq),
            Player::Kit(person) => person.seq(),
        }
    }

    /// Whether it is online by the last order.
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

    /// Its view of the room, `None` if it never came; and other errors.
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
