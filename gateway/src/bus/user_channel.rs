//! What reaches all connections of a user on this node, joined to rooms or not: one subscription per user, as long as
//! one of their connections is here.
//!
//! A connection *enters* before anything is read that it is told of itself: the channel is confirmed first, so that
//! what changes from then on is heard. Confirmation is not waited for longer than a second: then the connection comes
//! in all the same, and once the channel is confirmed its user is looked at again (see `recheck`). So is whoever was
//! told something that did not get through: nothing that stays is missed, frames that are live only may be.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_shared::{
    error::Refusal,
    ids::{Epoch, RoomId, Seq, UserId},
    log::Step,
    membership::Versions,
    people::{self, Notice},
};

use super::{Bus, PeopleError, Shared, interest::Hint, seats::Place};
use crate::transport::Frame;

/// How long a connection on its way in waits for its user's channel.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);

/// What a worker is to tell connections of a user. Frames are made once for the node.
#[derive(Debug)]
pub enum Told {
    /// A frame for all of them.
    Frame(Frame),
    /// A read mark of the user's own. Who is live in the room gets it with the room's receipts, where these are
    /// pushed.
    Read { room: RoomId, pushed: bool, frame: Frame },
    /// A membership changed at `seq`.
    Membership { room: RoomId, seq: Seq, frame: Frame },
    /// Memberships may have changed unnoticed.
    RoomsChanged(Frame),
    /// The account is this by now.
    Account { name: Option<String>, picture: Option<String> },
    /// The user is blocked or gone.
    Refused,
    /// This connection is one too many.
    Surplus(Place),
}

/// A connection on its way in. Dropped, it did not come.
pub struct Entering {
    bus: Arc<Bus>,
    user: UserId,
    news: u16,
    seated: bool,
}

impl Drop for Entering {
    fn drop(&mut self) {
        if !self.seated {
            self.bus.leave(|seats| seats.turn_back(&self.user), &self.user);
        }
    }
}

impl Entering {
    /// Takes a place, knowing these versions. They were read after this was made.
    pub fn sit(mut self, place: Place, versions: (Epoch, Versions)) {
        self.seated = true;
        let shared = &self.bus.shared;
        let seated = shared.seats().sit(&self.user, place, self.news, versions);
        if let Some(surplus) = seated.surplus {
            let told = Arc::new(Told::Surplus(surplus));
            if !shared.tell_workers(&self.user, 1 << surplus.worker(), &told) {
                shared.seats().keep(&self.user, surplus);
            }
        }
        if seated.missed {
            shared.recheck.user(&self.user);
        }
    }
}

impl Bus {
    /// Lets a connection of a user enter: from now on the node hears of what is told to them.
    ///
    /// # Errors
    /// When too many channels are being asked for.
    pub async fn enter(self: &Arc<Self>, user: &UserId) -> Result<Entering, Refusal> {
        let wait = {
            let mut seats = self.shared.seats();
            let wait = match seats.is_confirmed(user) {
                true => None,
                false => Some(self.subscriber.subscribe(people::channel(user)).ok_or_else(busy)?),
            };
            let born = seats.enter(user);
            self.shared.metrics.user_channels.set(i64::try_from(seats.len()).unwrap_or(i64::MAX));
            wait.map(|wait| (wait, born))
        };
        let mut entering = Entering { bus: self.clone(), user: user.clone(), news: 0, seated: false };
        if let Some((mut confirmed, born)) = wait {
            match tokio::time::timeout(CONFIRM_PATIENCE, &mut confirmed).await {
                Ok(confirmed) => {
                    confirmed.map_err(|_| busy())?;
                    self.shared.seats().confirm(user, born);
                }
                Err(_) => {
                    let (shared, user) = (self.shared.clone(), user.clone());
                    tokio::spawn(async move {
                        if confirmed.await.is_ok() {
                            shared.seats().confirm(&user, born);
                            shared.recheck.user(&user);
                        }
                    });
                }
            }
        }
        entering.news = self.shared.seats().news(user);
        Ok(entering)
    }

    /// A connection is gone from its place.
    pub fn rise(&self, user: &UserId, place: Place) {
        self.leave(|seats| seats.rise(user, place), user);
    }

    fn leave(&self, leave: impl FnOnce(&mut super::seats::Seats) -> bool, user: &UserId) {
        let mut seats = self.shared.seats();
        // Under the lock, so that it cannot overtake the wish of another connection for the same channel.
        if leave(&mut seats) && !self.subscriber.unsubscribe(people::channel(user)) {
            tracing::warn!("a user's channel stays subscribed: too many requests are waiting");
        }
        self.shared.metrics.user_channels.set(i64::try_from(seats.len()).unwrap_or(i64::MAX));
    }

    /// The versions of a user's memberships and account, for a connection that entered.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn versions(&self, user: &UserId) -> Result<(Epoch, Versions), PeopleError> {
        let session = self.log.session().await?;
        let users = std::slice::from_ref(user);
        let asked = async { tidings_shared::membership::versions(&mut session.connection(), users).await };
        let versions = self.asked(Step::People, &session, asked).await?;
        Ok((session.epoch, versions.first().copied().unwrap_or_default()))
    }
}

impl Shared {
    /// Something was published on a user's channel.
    pub(super) fn notify(&self, user: &str, payload: &Bytes) {
        let Some(notice) = Notice::parse(payload) else {
            tracing::error!("a notice for a user cannot be read");
            return;
        };
        let (kind, told) = match notice {
            Notice::Frame(frame) => ("frame", Some(Told::Frame(Frame::text(&frame)))),
            Notice::Read { room, pushed, frame } => {
                ("read", Some(Told::Read { room, pushed, frame: Frame::text(&frame) }))
            }
            Notice::Membership { room, seq, frame } => {
                ("membership", Some(Told::Membership { room, seq, frame: Frame::text(&frame) }))
            }
            Notice::Account => ("account", None),
        };
        self.metrics.notices.with_label_values(&[kind]).inc();
        let (user, workers) = {
            let mut seats = self.seats();
            let heard = if kind == "read" { seats.known(user) } else { seats.hear(user) };
            // The last connection may have gone while this was on its way.
            let Some(user) = heard else { return };
            match kind {
                "membership" => seats.unsure_of_rooms(&user),
                "account" => seats.unsure_of_account(&user),
                _ => {}
            }
            let workers = seats.workers(&user);
            (user, workers)
        };
        match told {
            Some(told) => {
                if !self.tell_workers(&user, workers, &Arc::new(told)) && kind != "read" {
                    self.seats().unsure_of_rooms(&user);
                    self.recheck.user(&user);
                }
            }
            None => self.recheck.user(&user),
        }
    }

    /// Hands something to be told to workers; false: a queue was full.
    pub(super) fn tell_workers(&self, user: &UserId, workers: u64, told: &Arc<Told>) -> bool {
        let hint = Hint::User { user: user.clone(), told: told.clone() };
        let through = self.interest().tell(workers, &hint);
        if !through {
            self.metrics.notices.with_label_values(&["dropped"]).inc();
        }
        through
    }
}

fn busy() -> Refusal {
    Refusal::overloaded("too many are coming at once; try again")
}
