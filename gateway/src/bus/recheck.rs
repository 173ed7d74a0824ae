//! Looks at users again who may have missed something: all of them after the pub/sub connection was made anew, one of
//! them after a notice of their account, or after one that did not get through. Compares the versions of their
//! memberships and accounts with those that their connections know, many in one go, and tells what differs.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use rustc_hash::FxHashSet;
use tidings_shared::{
    ids::{Epoch, UserId},
    log::Step,
    membership::{self, Account, Versions},
    protocol::server::ServerFrame,
};
use tokio::sync::Notify;

use super::{Bus, PeopleError, user_channel::Told};
use crate::transport::Frame;

/// Users compared in one go.
const USERS_AT_ONCE: usize = 500;
/// Before what failed is tried again: a blocked user is to be gone within 5 s.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Who is due. At most those who are here and, for a moment, those who just went.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Due {
    all: bool,
    users: FxHashSet<UserId>,
}

impl Recheck {
    fn due(&self) -> std::sync::MutexGuard<'_, Due> {
        // Nothing under the lock can panic half-way through a change.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn user(&self, user: &UserId) {
        self.due().users.insert(user.clone());
        self.wake.notify_one();
    }

    /// Has a user looked at once more, after a pause. Only from within a look.
    fn again(&self, user: &UserId) {
        self.due().users.insert(user.clone());
    }

    pub fn all(&self) {
        self.due().all = true;
        self.wake.notify_one();
    }
}

/// A user whose connections do not know something.
struct Behind {
    user: UserId,
    news: u16,
    versions: Versions,
}

/// Looks at those who are due, for as long as the bus lives.
pub(super) async fn run(bus: Weak<Bus>) {
    let Some(shared) = bus.upgrade().map(|bus| bus.shared.clone()) else { return };
    loop {
        shared.recheck.wake.notified().await;
        let Some(bus) = bus.upgrade() else { return };
        let due = mem::take(&mut *shared.recheck.due());
        let mut users: Vec<UserId> =
            if due.all { shared.seats().users().cloned().collect() } else { due.users.into_iter().collect() };
        let mut accounts = Vec::new();
        while !users.is_empty() {
            let some = users.split_off(users.len().saturating_sub(USERS_AT_ONCE));
            match bus.look_at(&some).await {
                Ok(differing) => accounts.push(differing),
                Err(error) => {
                    users.extend(some);
                    tracing::debug!(%error, users = users.len(), "users cannot be looked at again now");
                    shared.recheck.due().users.extend(users);
                    break;
                }
            }
        }
        // Last, since only this needs persistence: nobody waits for it to be told of rooms.
        for (epoch, behind) in accounts {
            let users: Vec<UserId> = behind.iter().map(|behind| behind.user.clone()).collect();
            if let Err(error) = bus.tell_accounts(epoch, behind).await {
                tracing::debug!(%error, users = users.len(), "accounts cannot be asked for now");
                shared.recheck.due().users.extend(users);
            }
        }
        drop(bus);
        if !shared.recheck.due().users.is_empty() {
            tokio::time::sleep(RETRY_AFTER).await;
            shared.recheck.wake.notify_one();
        }
    }
}

impl Bus {
    /// Tells users' connections of rooms what they do not know; those whose accounts differ are returned.
    async fn look_at(&self, users: &[UserId]) -> Result<(Epoch, Vec<Behind>), PeopleError> {
        let session = self.log.session().await?;
        let before: Vec<u16> = {
            let mut seats = self.shared.seats();
            users.iter().map(|user| seats.looked_at(user)).collect()
        };
        let versions = self
            .asked(Step::People, &session, membership::versions(&mut session.connection(), users))
            .await?;
        let (mut rooms, mut accounts) = (Vec::new(), Vec::new());
        {
            let seats = self.shared.seats();
            for ((user, news), versions) in users.iter().zip(before).zip(versions) {
                let differs = seats.differs(user, session.epoch, versions);
                let behind = || Behind { user: user.clone(), news, versions };
                if differs.rooms {
                    rooms.push(behind());
                }
                if differs.account {
                    accounts.push(behind());
                }
            }
        }
        for behind in rooms {
            self.tell_version(session.epoch, &behind);
        }
        Ok((session.epoch, accounts))
    }

    fn tell_version(&self, epoch: Epoch, behind: &Behind) {
        let Behind { user, news, versions } = behind;
        let version = membership::wire_version(epoch, versions.rooms);
        let frame = Frame::text(ServerFrame::RoomsChanged { rooms_version: &version }.to_json());
        if self.tell(user, Told::RoomsChanged(frame)) {
            self.shared.seats().told_rooms(user, *news, epoch, versions.rooms);
        }
    }

    /// Asks for accounts where they cannot be out of date, and tells them.
    async fn tell_accounts(&self, epoch: Epoch, behind: Vec<Behind>) -> Result<(), PeopleError> {
        if behind.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = behind.iter().map(|behind| behind.user.clone()).collect();
        let accounts = self.persistence.accounts(&users).await?;
        for (Behind { user, news, versions }, account) in behind.into_iter().zip(accounts) {
            let told = match account {
                Some(Account { name, picture, blocked: false }) => Told::Account { name, picture },
                Some(Account { blocked: true, .. }) | None => Told::Refused,
            };
            if self.tell(&user, told) {
                self.shared.seats().told_account(&user, news, epoch, versions.account);
            }
        }
        Ok(())
    }

    /// Tells a user's connections; false: not all of them, and it is tried again.
    fn tell(&self, user: &UserId, told: Told) -> bool {
        let workers = self.shared.seats().workers(user);
        let through = self.shared.tell_workers(user, workers, &Arc::new(told));
        if !through {
            self.shared.recheck.again(user);
        }
        through
    }
}
