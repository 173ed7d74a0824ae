//! Typing, combined over the whole node: changes within 100 ms are published together. Of the changes of one user in
//! one room, only the last is published. Receivers let typing expire, so the node stores no published typing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    log::{LiveEntry, Log},
    protocol::server::{Sender, ServerFrame},
    role::MinRole,
};
use tokio::sync::{Notify, oneshot};

use crate::{lock::lock, metrics::Metrics};

/// How long changes are collected before they are published.
const COLLECT_FOR: Duration = Duration::from_millis(100);
/// Time after which receivers let typing expire, unless it is repeated.
const EXPIRES_MS: u64 = 2000;
/// Maximum number of typing commands that wait at the same time. Further commands are refused as `overloaded`.
const MAX_WAITING: usize = 10_000;

type Answer = Result<(), Refusal>;

/// A user's typing in one room.
#[derive(Debug)]
pub struct TypingState {
    pub started: bool,
    pub name: Option<String>,
    /// Minimum role that the user must still have when the change is published.
    pub min_role: MinRole,
}

struct PendingTyping {
    state: TypingState,
    waiting: Vec<oneshot::Sender<Answer>>,
}

#[derive(Default)]
struct Pending {
    by_user: FxHashMap<(RoomId, UserId), PendingTyping>,
    waiting: usize,
}

/// The typing changes of a node that are not published yet. All workers share them.
#[derive(Default)]
pub struct Typing {
    pending_changes: Mutex<Pending>,
    /// Whether changes are waiting. Each sent message checks this flag without taking the lock.
    busy: AtomicBool,
    wake: Notify,
}

impl Typing {
    /// Starts the task that publishes the changes.
    pub fn start(log: Arc<Log>, metrics: Metrics) -> Arc<Self> {
        let typing = Arc::new(Self::default());
        tokio::spawn(send(typing.clone(), log, metrics));
        typing
    }

    /// Queues a change for publication, in place of an unpublished change of the same user in the same room. The
    /// returned receiver gets the outcome when the change was published.
    pub fn submit(
        &self,
        room: &RoomId,
        user: &UserId,
        state: TypingState,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let (answer, sent) = oneshot::channel();
        let mut pending_changes = lock(&self.pending_changes);
        if pending_changes.waiting >= MAX_WAITING {
            return Err(Refusal::overloaded("too many users type on this node; repeat this later"));
        }
        pending_changes.waiting += 1;
        if pending_changes.by_user.is_empty() {
            self.busy.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
        let key = (room.clone(), user.clone());
        let waiting = pending_changes.by_user.remove(&key).map(|before| before.waiting);
        let mut pending = PendingTyping { state, waiting: waiting.unwrap_or_default() };
        pending.waiting.push(answer);
        pending_changes.by_user.insert(key, pending);
        Ok(sent)
    }

    /// Drops the unpublished change of a user who has sent a message, because the message ends typing.
    pub fn cancel_unpublished(&self, room: &RoomId, user: &UserId) {
        // This load always sees a change of the same connection. A change of another connection may be missed, because
        // its order relative to the message is undefined.
        if !self.busy.load(Ordering::Relaxed) {
            return;
        }
        let mut pending_changes = lock(&self.pending_changes);
        if let Some(pending) = pending_changes.by_user.remove(&(room.clone(), user.clone())) {
            pending_changes.waiting -= pending.waiting.len();
            drop(pending_changes);
            pending.waiting.into_iter().for_each(|waiting| drop(waiting.send(Ok(()))));
        }
    }
}

async fn send(typing: Arc<Typing>, log: Arc<Log>, metrics: Metrics) {
    loop {
        typing.wake.notified().await;
        tokio::time::sleep(COLLECT_FOR).await;
        let changes = {
            let mut pending_changes = lock(&typing.pending_changes);
            typing.busy.store(false, Ordering::Relaxed);
            std::mem::take(&mut *pending_changes).by_user
        };
        let entries: Vec<LiveEntry<'_>> =
            changes.iter().map(|((room, user), pending)| entry(room, user, &pending.state)).collect();
        let outcomes = log.publish_live(&entries).await;
        drop(entries);
        for (pending, outcome) in changes.into_values().zip(outcomes) {
            if outcome.is_ok() {
                metrics.live.with_label_values(&["typing"]).inc();
            }
            // Sending fails if the connection has closed, which then needs no answer.
            pending.waiting.into_iter().for_each(|waiting| drop(waiting.send(outcome.clone())));
        }
    }
}

fn entry<'a>(room: &'a RoomId, user: &'a UserId, state: &TypingState) -> LiveEntry<'a> {
    let sender = |name| Sender { id: user.as_str(), name, picture: None };
    let (kind, frame) = if state.started {
        let user = sender(state.name.as_deref());
        ("typing:start", ServerFrame::TypingStart { room, user, expires_ms: EXPIRES_MS })
    } else {
        ("typing:stop", ServerFrame::TypingStop { room, user: sender(None) })
    };
    LiveEntry { room, kind, sender: user, to: None, min_role: state.min_role, json: frame.to_json() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(started: bool) -> TypingState {
        TypingState { started, name: Some("Ann".into()), min_role: MinRole::Member }
    }

    #[test]
    fn last_change_per_user_and_room_counts_and_all_are_answered() {
        let typing = Typing::default();
        let (room, ann, bob) =
            (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let _first = typing.submit(&room, &ann, state(true)).unwrap();
        let _second = typing.submit(&room, &ann, state(false)).unwrap();
        let _other = typing.submit(&room, &bob, state(true)).unwrap();
        let changes = std::mem::take(&mut *lock(&typing.pending_changes));
        assert_eq!((changes.by_user.len(), changes.waiting), (2, 3));
        let pending = &changes.by_user[&(room.clone(), ann.clone())];
        assert!(!pending.state.started && pending.waiting.len() == 2);
        let stop = entry(&room, &ann, &pending.state);
        assert_eq!(stop.json, br#"{"type":"typing:stop","room":"r","user":{"id":"ann"}}"#);
        let start = entry(&room, &ann, &state(true));
        let start_json =
            r#"{"type":"typing:start","room":"r","user":{"id":"ann","name":"Ann"},"expires_ms":2000}"#;
        assert_eq!(start.json, start_json.as_bytes());
    }

    #[test]
    fn message_cancels_unpublished_typing() {
        let typing = Typing::default();
        let (room, ann) = (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap());
        let mut receiver = typing.submit(&room, &ann, state(true)).unwrap();
        typing.cancel_unpublished(&room, &UserId::parse("bob").unwrap());
        assert!(receiver.try_recv().is_err());
        typing.cancel_unpublished(&room, &ann);
        assert_eq!(receiver.try_recv(), Ok(Ok(())));
        let pending_changes = lock(&typing.pending_changes);
        assert!(pending_changes.by_user.is_empty() && pending_changes.waiting == 0);
    }

    #[test]
    fn typing_above_limit_is_refused_as_overloaded() {
        let typing = Typing::default();
        let (room, ann) = (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap());
        let receiver: Vec<_> =
            (0..MAX_WAITING).map(|n| typing.submit(&room, &ann, state(n % 2 == 0)).unwrap()).collect();
        let refused = typing.submit(&room, &ann, state(true)).unwrap_err();
        assert_eq!(refused.code, tidings_shared::error::ErrorCode::Overloaded);
        drop(receiver);
    }
}
