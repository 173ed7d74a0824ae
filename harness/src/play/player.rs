//! The client of a user: the harness's client or the TypeScript kit's, with the same interface.

use std::sync::Arc;
use std::time::Duration;

use super::kit::{Kit, KitPerson};
use super::room_view::RoomView;
use crate::frames::Cursor;
use crate::listener::{Begin, LatencyObserver, Listener, Nodes, Sent, lock};
use crate::recorder::Interner;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Which client the users have.
#[derive(Clone, Default)]
pub enum Players {
    /// The client of the harness.
    #[default]
    Harness,
    /// The TypeScript kit, in a separate process.
    Kit(Arc<Kit>),
}

impl Players {
    /// Creates a user, who is offline at first. The first connection goes to the gateway with this number.
    pub(super) fn create_user(
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
            Players::Kit(kit) => Player::Kit(kit.create_user(user, room, nodes, number, on_latency)),
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
    /// Goes online, and waits for the connection for a limited time. The harness's client joins the room at `head`;
    /// without `head` it loads the latest page of history.
    pub(super) async fn go_online(&self, room: &str, head: Option<&Cursor>, interner: &Arc<Interner>) {
        let listener = match self {
            Player::Harness(listener) => listener,
            Player::Kit(person) => {
                // After the timeout the kit goes on connecting.
                let _ = tokio::time::timeout(CONNECT_TIMEOUT, person.go_online()).await;
                return;
            }
        };
        if listener.record(room).is_none() {
            let begin = head.map_or(Begin::Load, |head| Begin::At(head.clone()));
            listener.join(room, begin, Arc::clone(interner));
        }
        listener.online();
        let deadline = tokio::time::Instant::now() + CONNECT_TIMEOUT;
        while !listener.is_connected()
            && listener.failed().is_none()
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    /// Goes offline until the next [`Player::go_online`].
    pub(super) fn go_offline(&self) {
        match self {
            Player::Harness(listener) => listener.offline(),
            Player::Kit(person) => person.go_offline(),
        }
    }

    /// Sends a message, and repeats it until it is stored.
    pub(super) async fn send(&self, room: &str, text: &str) -> Result<Sent, String> {
        match self {
            Player::Harness(listener) => listener.send(room, text).await,
            Player::Kit(person) => person.send(text).await,
        }
    }

    /// The seq of the client's cursor in the room.
    pub(super) fn seq(&self, room: &str) -> u64 {
        match self {
            Player::Harness(listener) => listener.cursor(room).map_or(0, |cursor| cursor.seq),
            Player::Kit(person) => person.seq(),
        }
    }

    /// Whether the last command was to go online.
    pub(super) fn is_online(&self) -> bool {
        match self {
            Player::Harness(listener) => listener.is_wanted_online(),
            Player::Kit(person) => person.is_online(),
        }
    }

    /// How often the client connected.
    pub(super) fn connections(&self) -> u64 {
        match self {
            Player::Harness(listener) => listener.connections(),
            Player::Kit(person) => person.connections(),
        }
    }

    /// The client's view of the room, and errors that do not concern the room. The view is `None` if the client was
    /// never online.
    pub(super) async fn room_view(&self, room: &str, interner: &Interner) -> (Option<RoomView>, Vec<String>) {
        match self {
            Player::Harness(listener) => {
                let view = listener.record(room).map(|record| RoomView::from(&*lock(&record)));
                (view, listener.broken_rules().into_iter().chain(listener.failed()).collect())
            }
            Player::Kit(person) => match person.room_view(interner).await {
                Ok((view, broken)) => (view, broken),
                Err(why) => (None, vec![why]),
            },
        }
    }
}
