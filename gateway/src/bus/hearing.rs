//! Changes of presence on their way from Redis to the workers, each user's in order. What was told while the pub/sub
//! connection was away is read from what Redis keeps for a minute, before anything later is passed on.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tidings_shared::{
    log::{IngestId, Step},
    presence::{self, PARTITIONS, Told},
    protocol::server::ServerFrame,
};
use tokio::sync::{Notify, broadcast};

use super::{Bus, PeopleError, Shared};
use crate::transport::Frame;

/// Changes that may wait for a worker; of more it misses the oldest.
const HEARD_QUEUE: usize = 4096;
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Readings before what was missed is given up, with this pause: what is published is kept, so the first or second
/// finds it, unless Redis is another process by now.
const ROUNDS: usize = 100;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);

type Places = [IngestId; PARTITIONS as usize];

/// A change of presence, framed once for all receivers.
#[derive(Debug)]
pub struct Heard {
    told: Told,
    pub frame: Frame,
    /// Bit per worker that wants one of the rooms.
    workers: u64,
}

impl Heard {
    /// Whether a worker may have somebody who is to be told.
    #[must_use]
    pub fn concerns(&self, worker: usize) -> bool {
        self.workers & (1 << worker) != 0
    }

    /// The rooms whose members are told.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.told.rooms()
    }
}

/// What is heard, and up to where.
pub(super) struct Hearing {
    heard: broadcast::Sender<Arc<Heard>>,
    progress: Mutex<Progress>,
    wake: Notify,
}

#[derive(Default)]
struct Progress {
    /// Up to where each partition was passed on.
    last: Places,
    /// The pub/sub connection stands, and how often it went or came: what was read before its last return may lack
    /// what was told before it.
    connected: bool,
    turns: u32,
    /// Something may have been missed: what is published is not passed on, but read.
    behind: bool,
    /// The newest that were published and not passed on.
    newest: Places,
    /// The process that was followed; another one counts its own places.
    process: Option<Arc<str>>,
}

impl Default for Hearing {
    fn default() -> Self {
        let (heard, _) = broadcast::channel(HEARD_QUEUE);
        Self { heard, progress: Mutex::default(), wake: Notify::new() }
    }
}

impl Hearing {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        // Nothing under the lock can panic half-way through a change.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pub/sub connection is away.
    pub fn away(&self) {
        let mut progress = self.progress();
        (progress.behind, progress.connected) = (true, false);
        progress.turns = progress.turns.wrapping_add(1);
    }

    /// It is there again, on this process.
    pub fn back(&self, process: &Arc<str>) {
        let mut progress = self.progress();
        progress.connected = true;
        progress.turns = progress.turns.wrapping_add(1);
        if progress.process.as_ref() != Some(process) {
            // Whoever has just started has missed nothing.
            progress.behind = progress.process.is_some();
            progress.last = Places::default();
            progress.newest = Places::default();
            progress.process = Some(process.clone());
        }
        if progress.behind {
            self.wake.notify_one();
        }
    }
}

impl Progress {
    /// Up to where everything was passed on, and the turn, for a reading.
    fn begin(&self) -> (Places, u32) {
        (self.last, self.turns)
    }

    /// Whether a published change is to be passed on now.
    fn take(&mut self, told: &Told) -> bool {
        if self.behind {
            let newest = &mut self.newest[told.partition().index()];
            *newest = told.id.max(*newest);
        }
        !self.behind && self.step(told)
    }

    /// Moves over a change; false: it was passed on before.
    fn step(&mut self, told: &Told) -> bool {
        let last = &mut self.last[told.partition().index()];
        let next = told.id > *last;
        *last = told.id.max(*last);
        next
    }

    /// Something was read to its end, begun at this turn. False: more was published or missed meanwhile.
    fn caught_up(&mut self, turn: u32) -> bool {
        let more = self.newest.iter().zip(&self.last).any(|(newest, last)| newest > last);
        self.behind = more || self.is_cut_since(turn);
        !self.behind
    }

    fn is_cut_since(&self, turn: u32) -> bool {
        !self.connected || self.turns != turn
    }
}

impl Shared {
    /// Something was published on the channel of presence.
    pub(super) fn presence_told(&self, payload: &[u8]) {
        let Some(told) = Told::parse(payload) else {
            tracing::error!("a change of presence cannot be read");
            return;
        };
        if self.hearing.progress().take(&told) {
            self.pass_on(told);
        }
    }

    fn pass_on(&self, told: Told) {
        self.metrics.presence_heard.inc();
        let workers = self.interest().wanting(told.rooms());
        if workers != 0 {
            let frame = Frame::text(ServerFrame::Presence(&told.on_the_wire()).to_json());
            // Without a worker nobody is told.
            let _ = self.hearing.heard.send(Arc::new(Heard { told, frame, workers }));
        }
    }
}

impl Bus {
    /// Changes of presence from now on.
    #[must_use]
    pub fn heard_presence(&self) -> broadcast::Receiver<Arc<Heard>> {
        self.shared.hearing.heard.subscribe()
    }

    async fn catch_up(&self) -> Result<(), PeopleError> {
        for _ in 0..ROUNDS {
            let (after, turn) = self.shared.hearing.progress().begin();
            let session = self.log.session().await?;
            let missed =
                self.log.timed(Step::Presence, presence::missed(&mut session.connection(), &after)).await;
            let missed = missed.inspect_err(|error| self.log.failed(&session, error))?;
            for told in missed {
                let next = self.shared.hearing.progress().step(&told);
                if next {
                    self.shared.pass_on(told);
                }
            }
            if self.shared.hearing.progress().caught_up(turn) {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
        tracing::warn!("what was told of people meanwhile is not kept where it is looked for");
        // What is missed while the connection is away is looked for when it is back.
        let mut progress = self.shared.hearing.progress();
        progress.behind = !progress.connected;
        Ok(())
    }
}

/// Catches up each time that something may have been missed, as long as there is a bus.
pub(super) async fn run(bus: Weak<Bus>) {
    loop {
        let Some(shared) = bus.upgrade().map(|bus| bus.shared.clone()) else { return };
        shared.hearing.wake.notified().await;
        while let Some(bus) = bus.upgrade() {
            match bus.catch_up().await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(%error, "presence cannot be caught up with");
                    bus.shared.metrics.presence_failures.with_label_values(&["read"]).inc();
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ms: u64) -> Told {
        Told::parse(format!("{ms}-0 1 a o 0 r").as_bytes()).unwrap()
    }

    fn caught_up(hearing: &Hearing) -> bool {
        let turn = hearing.progress().turns;
        hearing.progress().caught_up(turn)
    }

    #[test]
    fn what_was_missed_comes_before_what_is_published_and_nothing_twice() {
        let hearing = Hearing::default();
        hearing.back(&"process".into());
        assert!(hearing.progress().take(&told(1)), "nothing was missed at the start");
        hearing.away();
        assert!(!hearing.progress().take(&told(3)), "it is read in its turn");
        hearing.back(&"process".into());
        assert!(!hearing.progress().take(&told(4)));
        assert!([1, 2, 3].map(|ms| hearing.progress().step(&told(ms))) == [false, true, true]);
        assert!(!caught_up(&hearing), "there is more");
        assert!(hearing.progress().step(&told(4)));
        assert!(caught_up(&hearing));
        assert!(!hearing.progress().take(&told(4)) && hearing.progress().take(&told(5)));
    }

    #[test]
    fn another_process_is_followed_from_its_own_beginning() {
        let hearing = Hearing::default();
        hearing.back(&"one".into());
        assert!(hearing.progress().take(&told(9)));
        hearing.away();
        hearing.back(&"other".into());
        assert!(!hearing.progress().take(&told(5)), "what it told before is read first");
        assert!(hearing.progress().step(&told(5)) && caught_up(&hearing));
    }
    #[test]
    fn a_reading_that_the_connection_did_not_outlast_ends_nothing() {
        let hearing = Hearing::default();
        hearing.back(&"one".into());
        hearing.away();
        hearing.back(&"one".into());
        let (_, turn) = hearing.progress().begin();
        hearing.away();
        assert!(!hearing.progress().caught_up(turn), "the connection is away");
        hearing.back(&"one".into());
        assert!(!hearing.progress().caught_up(turn), "what came meanwhile was not read");
        assert!(!hearing.progress().take(&told(7)), "a published one would hide it");
        assert!(hearing.progress().step(&told(7)) && caught_up(&hearing));
    }
}
