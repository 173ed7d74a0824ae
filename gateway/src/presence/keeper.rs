//! Brings to Redis what this node holds, under the name of a life whose lease it renews. When Redis has lost the life,
//! or its data are others by now, another life begins and everything is put again.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_shared::{
    ids::{Epoch, UserId},
    presence::{self, Hold, Life, Put, PutOutcome},
};
use tokio::sync::mpsc;

use super::Presence;
use crate::{
    bus::{Bus, PeopleError},
    metrics::Metrics,
};

/// Users put in one go: about a millisecond of Redis.
const PUTS_AT_ONCE: usize = 256;
/// Between two looks for who has rested long enough.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Earlier lives that are remembered to be ended; of more, the leases run out by themselves.
const MAX_BEFORE: usize = 8;

struct Held {
    life: Life,
    /// The epoch of Redis's data that it began in.
    epoch: Epoch,
    renewed: Instant,
}

struct Keeper {
    presence: Arc<Presence>,
    bus: Arc<Bus>,
    metrics: Metrics,
    tell: mpsc::Sender<UserId>,
    held: Option<Held>,
    /// Ended when everything they held is held by the present one.
    before: Vec<Life>,
    /// Taken and not known to be put.
    waiting: Vec<Put>,
}

/// Keeps until the end of the node.
pub(super) async fn keep(
    presence: Arc<Presence>,
    bus: Arc<Bus>,
    metrics: Metrics,
    tell: mpsc::Sender<UserId>,
) {
    let mut keeper =
        Keeper { presence, bus, metrics, tell, held: None, before: Vec::new(), waiting: Vec::new() };
    loop {
        let ending = tokio::select! {
            () = keeper.presence.wake.notified() => false,
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = keeper.presence.ending.cancelled() => true,
        };
        if let Err(error) = keeper.turn(ending).await {
            tracing::debug!(%error, "presence rests");
            keeper.metrics.presence_failures.with_label_values(&["put"]).inc();
            tokio::time::sleep(RETRY_AFTER).await;
            continue;
        }
        if ending {
            keeper.presence.ended.cancel();
            return;
        }
    }
}

impl Keeper {
    async fn turn(&mut self, ending: bool) -> Result<(), PeopleError> {
        let mut polls = self.presence.registry().take_polls();
        while !polls.is_empty() {
            let some = polls.split_off(polls.len().saturating_sub(PUTS_AT_ONCE));
            match self.bus.hold_presence(Hold::Poll, presence::POLL_HOLD, &some).await {
                Ok(outcomes) => self.to_be_told(some.iter().map(|(user, _)| user), &outcomes),
                Err(error) => {
                    polls.extend(some);
                    self.presence.registry().poll_again(polls);
                    return Err(error);
                }
            }
        }
        loop {
            let here = self.presence.registry().len();
            self.metrics.presence_users.set(i64::try_from(here).unwrap_or(i64::MAX));
            if here == 0 && self.waiting.is_empty() {
                // A life that holds nobody need not be renewed.
                break;
            }
            let life = self.life().await?;
            if self.waiting.is_empty() {
                let now = self.presence.now();
                // At the end nobody rests.
                let now = if ending { now.wrapping_add(super::registry::REST_MS) } else { now };
                self.waiting = self.presence.registry().take(PUTS_AT_ONCE, now);
            }
            if self.waiting.is_empty() {
                break;
            }
            let outcomes = self.bus.put_presence(&life, &self.waiting).await?;
            let puts = mem::take(&mut self.waiting);
            if outcomes.contains(&PutOutcome::LifeOver) {
                self.begin_anew();
            } else {
                self.to_be_told(puts.iter().map(|put| &put.user), &outcomes);
            }
        }
        if ending && let Some(held) = self.held.take() {
            self.before.push(held.life);
        }
        while let Some(life) = self.before.last() {
            self.bus.end_presence(life).await?;
            self.before.pop();
        }
        Ok(())
    }

    /// The life in use, its lease renewed when that is due, or another when it is over.
    async fn life(&mut self) -> Result<Life, PeopleError> {
        let epoch = self.bus.log.session().await?.epoch;
        if let Some(held) = &mut self.held
            && held.epoch == epoch
        {
            let asked = Instant::now();
            if asked.duration_since(held.renewed) < presence::RENEW_EVERY {
                return Ok(held.life.clone());
            }
            if self.bus.renew_presence(&held.life).await? {
                held.renewed = asked;
                return Ok(held.life.clone());
            }
        }
        self.begin_anew();
        let (life, renewed) = (Life::fresh(), Instant::now());
        self.bus.begin_presence(&life).await?;
        self.metrics.presence_lives.inc();
        self.held = Some(Held { life: life.clone(), epoch, renewed });
        Ok(life)
    }

    /// The life is over: everybody is to be put again under another one.
    fn begin_anew(&mut self) {
        if let Some(held) = self.held.take() {
            tracing::warn!(life = %held.life, "presence begins anew");
            if self.before.len() < MAX_BEFORE {
                self.before.push(held.life);
            }
            // Who left meanwhile went with the old life.
            self.waiting.clear();
            self.presence.registry().forgotten();
        }
    }

    fn to_be_told<'a>(&self, users: impl Iterator<Item = &'a UserId>, outcomes: &[PutOutcome]) {
        for (user, outcome) in users.zip(outcomes) {
            if *outcome == PutOutcome::Tell {
                // Without a place the sweep finds them in a moment.
                let _ = self.tell.try_send(user.clone());
            }
        }
    }
}
