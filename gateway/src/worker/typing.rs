//! Combines the typing of all connections of a node: changes within 100 ms are published together. Of the changes of
//! one user in one room, only the last is published. Receivers let typing expire, so the node does not remember who is
//! typing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustc_hash::{FxHashMap, FxHashSet};
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
const COLLECT_TIME: Duration = Duration::from_millis(100);
/// Time in ms after which receivers let typing expire, unless it is repeated.
const TYPING_EXPIRY_MS: u64 = 2000;
/// Maximum number of typing commands that wait at the same time. Further commands are refused as `overloaded`.
const MAX_WAITING_COMMANDS: usize = 10_000;

type TypingOutcome = Result<(), Refusal>;

/// A user's typing in one room.
#[derive(Debug)]
pub struct TypingState {
    pub started: bool,
    pub name: Option<String>,
    /// Minimum role that the user must still have when the change is published.
    pub min_role: MinRole,
}

/// An unpublished change, and the senders of the answers to the commands that caused it.
struct PendingTyping {
    state: TypingState,
    senders: Vec<oneshot::Sender<TypingOutcome>>,
}

impl PendingTyping {
    /// Answers the commands, and returns their number.
    fn answer_all(self, outcome: &TypingOutcome, metrics: &Metrics) -> usize {
        let count = self.senders.len();
        if outcome.is_ok() {
            metrics.live.with_label_values(&["typing"]).inc();
        }
        // Sending fails if the connection has closed, which then needs no answer.
        self.senders.into_iter().for_each(|sender| drop(sender.send(outcome.clone())));
        count
    }
}

type TypingChanges = FxHashMap<(RoomId, UserId), PendingTyping>;

#[derive(Default)]
struct PendingChanges {
    by_user: TypingChanges,
    /// Number of commands without an answer.
    unanswered: usize,
    /// The rooms that are being seeded. Changes in such a room wait until the room is seeded, so that the changes keep
    /// their order.
    seeding: FxHashSet<RoomId>,
}

impl PendingChanges {
    /// Takes all changes, except those of rooms that are being seeded.
    fn take_publishable(&mut self) -> TypingChanges {
        let Self { by_user, seeding, .. } = self;
        by_user.extract_if(|(room, _), _| !seeding.contains(room)).collect()
    }
}

/// The typing changes of a node that are not published yet. All workers share them.
#[derive(Default)]
pub struct TypingPublisher {
    pending_changes: Mutex<PendingChanges>,
    /// Whether changes are waiting. Each sent message checks this flag without taking the lock.
    has_changes: AtomicBool,
    wake: Notify,
}

impl TypingPublisher {
    /// Starts the task that publishes the changes.
    pub fn start(log: Arc<Log>, metrics: Metrics) -> Arc<Self> {
        let typing = Arc::new(Self::default());
        tokio::spawn(publish_changes(typing.clone(), log, metrics));
        typing
    }

    /// Queues a change for publication, in place of an unpublished change of the same user in the same room. The
    /// returned receiver gets the outcome when the change was published.
    pub fn submit(
        &self,
        room: &RoomId,
        user: &UserId,
        state: TypingState,
    ) -> Result<oneshot::Receiver<TypingOutcome>, Refusal> {
        let (answer, sent) = oneshot::channel();
        let mut pending_changes = lock(&self.pending_changes);
        if pending_changes.unanswered >= MAX_WAITING_COMMANDS {
            return Err(Refusal::overloaded("too many users type on this node; repeat this later"));
        }
        pending_changes.unanswered += 1;
        self.has_changes.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        let key = (room.clone(), user.clone());
        let senders = pending_changes.by_user.remove(&key).map(|previous| previous.senders);
        let mut pending = PendingTyping { state, senders: senders.unwrap_or_default() };
        pending.senders.push(answer);
        pending_changes.by_user.insert(key, pending);
        Ok(sent)
    }

    /// Drops the unpublished change of a user who has sent a message, because the message ends typing.
    pub fn cancel_unpublished(&self, room: &RoomId, user: &UserId) {
        // This load always sees a change of the same connection. A change of another connection may be missed; this
        // does no harm, because its order relative to the message is undefined.
        if !self.has_changes.load(Ordering::Relaxed) {
            return;
        }
        let mut pending_changes = lock(&self.pending_changes);
        if let Some(pending) = pending_changes.by_user.remove(&(room.clone(), user.clone())) {
            pending_changes.unanswered -= pending.senders.len();
            drop(pending_changes);
            pending.senders.into_iter().for_each(|sender| drop(sender.send(Ok(()))));
        }
    }
}

async fn publish_changes(typing: Arc<TypingPublisher>, log: Arc<Log>, metrics: Metrics) {
    loop {
        typing.wake.notified().await;
        tokio::time::sleep(COLLECT_TIME).await;
        let changes = {
            let mut pending_changes = lock(&typing.pending_changes);
            let changes = pending_changes.take_publishable();
            typing.has_changes.store(!pending_changes.by_user.is_empty(), Ordering::Relaxed);
            changes
        };
        if changes.is_empty() {
            continue;
        }
        let outcomes = log.publish_in_seeded_rooms(&live_entries(&changes)).await;
        let (mut unseeded, mut answered) = (FxHashMap::<RoomId, TypingChanges>::default(), 0);
        for ((key, pending), outcome) in changes.into_iter().zip(outcomes) {
            match outcome {
                Some(outcome) => answered += pending.answer_all(&outcome, &metrics),
                None => drop(unseeded.entry(key.0.clone()).or_default().insert(key, pending)),
            }
        }
        {
            let mut pending_changes = lock(&typing.pending_changes);
            pending_changes.unanswered -= answered;
            pending_changes.seeding.extend(unseeded.keys().cloned());
        }
        for (room, changes) in unseeded {
            // Each room has its own task, so that a room that cannot be seeded now delays no other room.
            let (typing, log, metrics) = (typing.clone(), log.clone(), metrics.clone());
            tokio::spawn(async move {
                let outcomes = log.publish_live(&live_entries(&changes)).await;
                let answers = changes.into_values().zip(outcomes);
                let answered: usize =
                    answers.map(|(pending, outcome)| pending.answer_all(&outcome, &metrics)).sum();
                let mut pending_changes = lock(&typing.pending_changes);
                pending_changes.unanswered -= answered;
                pending_changes.seeding.remove(&room);
                drop(pending_changes);
                typing.wake.notify_one();
            });
        }
    }
}

fn live_entries(changes: &TypingChanges) -> Vec<LiveEntry<'_>> {
    changes.iter().map(|((room, user), pending)| live_entry(room, user, &pending.state)).collect()
}

fn live_entry<'a>(room: &'a RoomId, user: &'a UserId, state: &TypingState) -> LiveEntry<'a> {
    let sender = |name| Sender { id: user.as_str(), name, picture: None };
    let (kind, frame) = if state.started {
        let user = sender(state.name.as_deref());
        ("typing:start", ServerFrame::TypingStart { room, user, expires_ms: TYPING_EXPIRY_MS })
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
        let typing = TypingPublisher::default();
        let (room, ann, bob) =
            (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let _first = typing.submit(&room, &ann, state(true)).unwrap();
        let _second = typing.submit(&room, &ann, state(false)).unwrap();
        let _other = typing.submit(&room, &bob, state(true)).unwrap();
        let changes = lock(&typing.pending_changes).take_publishable();
        assert_eq!((changes.len(), lock(&typing.pending_changes).unanswered), (2, 3));
        let pending = &changes[&(room.clone(), ann.clone())];
        assert!(!pending.state.started && pending.senders.len() == 2);
        let stop = live_entry(&room, &ann, &pending.state);
        assert_eq!(stop.json, br#"{"type":"typing:stop","room":"r","user":{"id":"ann"}}"#);
        let start = live_entry(&room, &ann, &state(true));
        let start_json =
            r#"{"type":"typing:start","room":"r","user":{"id":"ann","name":"Ann"},"expires_ms":2000}"#;
        assert_eq!(start.json, start_json.as_bytes());
    }

    #[test]
    fn message_cancels_unpublished_typing() {
        let typing = TypingPublisher::default();
        let (room, ann) = (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap());
        let mut receiver = typing.submit(&room, &ann, state(true)).unwrap();
        typing.cancel_unpublished(&room, &UserId::parse("bob").unwrap());
        assert!(receiver.try_recv().is_err());
        typing.cancel_unpublished(&room, &ann);
        assert_eq!(receiver.try_recv(), Ok(Ok(())));
        let pending_changes = lock(&typing.pending_changes);
        assert!(pending_changes.by_user.is_empty() && pending_changes.unanswered == 0);
    }

    #[test]
    fn changes_of_room_being_seeded_wait() {
        let typing = TypingPublisher::default();
        let [room, other] = ["r", "other"].map(|room| RoomId::parse(room).unwrap());
        let ann = UserId::parse("ann").unwrap();
        lock(&typing.pending_changes).seeding.insert(room.clone());
        let _receivers = [&room, &other].map(|room| typing.submit(room, &ann, state(true)).unwrap());
        let mut pending_changes = lock(&typing.pending_changes);
        assert_eq!(
            pending_changes.take_publishable().into_keys().collect::<Vec<_>>(),
            [(other, ann.clone())]
        );
        pending_changes.seeding.clear();
        assert_eq!(pending_changes.take_publishable().into_keys().collect::<Vec<_>>(), [(room, ann)]);
    }

    #[test]
    fn typing_above_limit_is_refused_as_overloaded() {
        let typing = TypingPublisher::default();
        let (room, ann) = (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap());
        let receiver: Vec<_> = (0..MAX_WAITING_COMMANDS)
            .map(|n| typing.submit(&room, &ann, state(n % 2 == 0)).unwrap())
            .collect();
        let refused = typing.submit(&room, &ann, state(true)).unwrap_err();
        assert_eq!(refused.code, tidings_shared::error::ErrorCode::Overloaded);
        drop(receiver);
    }
}
