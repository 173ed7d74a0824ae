//! Typing, gathered over the whole node: what people began and stopped within 100 ms goes out together, of each person
//! in each room the last. Whoever sees it forgets it by themselves; nothing here remembers who types.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    log::{LiveEntry, Log, Minimum},
    protocol::server::{Sender, ServerFrame},
};
use tokio::sync::{Notify, oneshot};

use crate::metrics::Metrics;

/// How long typing gathers.
const GATHER: Duration = Duration::from_millis(100);
/// When receivers forget it, unless they hear again.
const EXPIRES_MS: u64 = 2000;
/// Commands that may gather at one time; above it they are refused as overloaded.
const MAX_GATHERED: usize = 10_000;

type Answer = Result<(), Refusal>;

/// What one person does in one room.
#[derive(Debug)]
pub struct Typist {
    pub started: bool,
    pub name: Option<String>,
    /// Least rank that they must still have when it goes out.
    pub minimum: Minimum,
}

struct Said {
    typist: Typist,
    waiting: Vec<oneshot::Sender<Answer>>,
}

#[derive(Default)]
struct Gathering {
    said: FxHashMap<(RoomId, UserId), Said>,
    /// Who waits for the answers of all of them.
    waiting: usize,
}

/// See the module. Shared by all workers of a node.
#[derive(Default)]
pub struct Typing {
    gathering: Mutex<Gathering>,
    /// Something gathers, as the last who held the lock left it: every message asks.
    busy: AtomicBool,
    begun: Notify,
}

impl Typing {
    /// Starts the task that sends what gathers.
    #[must_use]
    pub fn start(log: Arc<Log>, metrics: Metrics) -> Arc<Self> {
        let typing = Arc::new(Self::default());
        tokio::spawn(send(typing.clone(), log, metrics));
        typing
    }

    fn gathering(&self) -> std::sync::MutexGuard<'_, Gathering> {
        // Held for map operations only, and none of them can panic half-way through a change.
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of what the same person did in the same room within the last 100 ms. Resolves when it has gone
    /// out.
    ///
    /// # Errors
    /// `overloaded` when too much gathers.
    pub fn say(
        &self,
        room: &RoomId,
        user: &UserId,
        typist: Typist,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let (answer, sent) = oneshot::channel();
        let mut gathering = self.gathering();
        if gathering.waiting >= MAX_GATHERED {
            return Err(Refusal::overloaded("too many people type on this node; repeat this later"));
        }
        gathering.waiting += 1;
        if gathering.said.is_empty() {
            self.busy.store(true, Ordering::Relaxed);
            self.begun.notify_one();
        }
        let key = (room.clone(), user.clone());
        let waiting = gathering.said.remove(&key).map(|before| before.waiting);
        let mut said = Said { typist, waiting: waiting.unwrap_or_default() };
        said.waiting.push(answer);
        gathering.said.insert(key, said);
        Ok(sent)
    }

    fn take(&self) -> FxHashMap<(RoomId, UserId), Said> {
        let mut gathering = self.gathering();
        self.busy.store(false, Ordering::Relaxed);
        std::mem::take(&mut *gathering).said
    }

    /// A message of theirs ends a person's typing: what has not gone out yet would come behind it.
    pub fn has_sent(&self, room: &RoomId, user: &UserId) {
        // Of the same connection it is known for sure; of another one it may as well have come later.
        if !self.busy.load(Ordering::Relaxed) {
            return;
        }
        let mut gathering = self.gathering();
        if let Some(said) = gathering.said.remove(&(room.clone(), user.clone())) {
            gathering.waiting -= said.waiting.len();
            drop(gathering);
            said.waiting.into_iter().for_each(|waiting| drop(waiting.send(Ok(()))));
        }
    }
}

async fn send(typing: Arc<Typing>, log: Arc<Log>, metrics: Metrics) {
    loop {
        typing.begun.notified().await;
        tokio::time::sleep(GATHER).await;
        let gathered = typing.take();
        let entries: Vec<LiveEntry<'_>> =
            gathered.iter().map(|((room, user), said)| entry(room, user, &said.typist)).collect();
        let outcomes = log.publish_live(&entries).await;
        drop(entries);
        for (said, outcome) in gathered.into_values().zip(outcomes) {
            if outcome.is_ok() {
                metrics.live.with_label_values(&["typing"]).inc();
            }
            // A connection that went away needs no answer.
            said.waiting.into_iter().for_each(|waiting| drop(waiting.send(outcome.clone())));
        }
    }
}

fn entry<'a>(room: &'a RoomId, user: &'a UserId, typist: &Typist) -> LiveEntry<'a> {
    let sender = |name| Sender { id: user.as_str(), name, picture: None };
    let (kind, frame) = if typist.started {
        let user = sender(typist.name.as_deref());
        ("typing:start", ServerFrame::TypingStart { room, user, expires_ms: EXPIRES_MS })
    } else {
        ("typing:stop", ServerFrame::TypingStop { room, user: sender(None) })
    };
    LiveEntry { room, kind, sender: user, to: None, minimum: typist.minimum, json: frame.to_json() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typist(started: bool) -> Typist {
        Typist { started, name: Some("Ann".into()), minimum: Minimum::Member }
    }

    #[test]
    fn of_each_person_in_each_room_the_last_word_counts_and_all_who_asked_are_answered() {
        let typing = Typing::default();
        let (room, ann, bob) =
            (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let _first = typing.say(&room, &ann, typist(true)).unwrap();
        let _second = typing.say(&room, &ann, typist(false)).unwrap();
        let _other = typing.say(&room, &bob, typist(true)).unwrap();
        let gathered = std::mem::take(&mut *typing.gathering());
        assert_eq!((gathered.said.len(), gathered.waiting), (2, 3));
        let said = &gathered.said[&(room.clone(), ann.clone())];
        assert!(!said.typist.started && said.waiting.len() == 2);
        let stop = entry(&room, &ann, &said.typist);
        assert_eq!(stop.json, br#"{"type":"typing:stop","room":"r","user":{"id":"ann"}}"#);
        let start = entry(&room, &ann, &typist(true));
        let start_json =
            r#"{"type":"typing:start","room":"r","user":{"id":"ann","name":"Ann"},"expires_ms":2000}"#;
        assert_eq!(start.json, start_json.as_bytes());
    }

    #[test]
    fn a_message_takes_back_what_has_not_gone_out() {
        let typing = Typing::default();
        let (room, ann) = (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap());
        let mut asked = typing.say(&room, &ann, typist(true)).unwrap();
        typing.has_sent(&room, &UserId::parse("bob").unwrap());
        assert!(asked.try_recv().is_err());
        typing.has_sent(&room, &ann);
        assert_eq!(asked.try_recv(), Ok(Ok(())));
        let gathering = typing.gathering();
        assert!(gathering.said.is_empty() && gathering.waiting == 0);
    }

    #[test]
    fn no_more_gathers_than_the_bound() {
        let typing = Typing::default();
        let (room, ann) = (RoomId::parse("r").unwrap(), UserId::parse("ann").unwrap());
        let asked: Vec<_> =
            (0..MAX_GATHERED).map(|n| typing.say(&room, &ann, typist(n % 2 == 0)).unwrap()).collect();
        let refused = typing.say(&room, &ann, typist(true)).unwrap_err();
        assert_eq!(refused.code, tidings_shared::error::ErrorCode::Overloaded);
        drop(asked);
    }
}
