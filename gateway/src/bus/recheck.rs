//! Checks users who may have missed a notice: all users after a reconnect of pub/sub, and one user after a notice about
//! the account or a notice that was not delivered. A check reads the versions of memberships and accounts of many users
//! from Redis in one command. A user's connections are sent what differs from the versions that they have.

use std::{
    mem,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use rustc_hash::FxHashSet;
use tidings_shared::{
    ids::{Epoch, UserId},
    log::RoundTrip,
    membership::{self, Account, Versions},
    protocol::server::ServerFrame,
};
use tokio::sync::Notify;

use super::{Bus, LookupError, interest::UserEvent};
use crate::{lock::lock, transport::Frame};

const USERS_PER_CHECK: usize = 500;
/// Delay before a failed check is repeated, short because a blocked user must be disconnected within 5 s.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The users to check: connected users, and some users who have just disconnected.
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
    /// Schedules a check of a user, and wakes [`run`].
    pub fn check_user(&self, user: &UserId) {
        lock(&self.due).users.insert(user.clone());
        self.wake.notify_one();
    }

    /// Schedules another check of a user after a pause. Must be called during a check only, because the task looks for
    /// these users when the check ends.
    fn check_later(&self, user: &UserId) {
        lock(&self.due).users.insert(user.clone());
    }

    /// Schedules a check of all users in the connection registry, and wakes [`run`].
    pub fn check_all(&self) {
        lock(&self.due).all = true;
        self.wake.notify_one();
    }
}

/// A user whose connections have an old version of the memberships or of the account.
struct OutdatedUser {
    user: UserId,
    notice_count: u16,
    versions: Versions,
}

/// Checks the scheduled users until the bus is dropped.
pub(super) async fn run(bus: Weak<Bus>) {
    let Some(shared) = bus.upgrade().map(|bus| bus.shared.clone()) else { return };
    loop {
        shared.recheck.wake.notified().await;
        let Some(bus) = bus.upgrade() else { return };
        let due = mem::take(&mut *lock(&shared.recheck.due));
        let mut users: Vec<UserId> = if due.all {
            lock(&shared.connections).users().cloned().collect()
        } else {
            due.users.into_iter().collect()
        };
        let mut accounts = Vec::new();
        while !users.is_empty() {
            let batch = users.split_off(users.len().saturating_sub(USERS_PER_CHECK));
            match bus.check(&batch).await {
                Ok(differing) => accounts.push(differing),
                Err(error) => {
                    users.extend(batch);
                    tracing::debug!(%error, users = users.len(), "users cannot be checked now; retrying");
                    lock(&shared.recheck.due).users.extend(users);
                    break;
                }
            }
        }
        // Accounts are read last, because `rooms:changed` must not wait for persistence.
        for (epoch, outdated) in accounts {
            let users: Vec<UserId> = outdated.iter().map(|outdated| outdated.user.clone()).collect();
            if let Err(error) = bus.send_accounts(epoch, outdated).await {
                tracing::debug!(%error, users = users.len(), "accounts cannot be read now; retrying");
                lock(&shared.recheck.due).users.extend(users);
            }
        }
        drop(bus);
        if !lock(&shared.recheck.due).users.is_empty() {
            tokio::time::sleep(RETRY_AFTER).await;
            shared.recheck.wake.notify_one();
        }
    }
}

impl Bus {
    /// Sends `rooms:changed` to users whose connections have an old version of the memberships. Returns the users whose
    /// connections have an old version of the account.
    async fn check(&self, users: &[UserId]) -> Result<(Epoch, Vec<OutdatedUser>), LookupError> {
        let session = self.log.session().await?;
        let before: Vec<u16> = {
            let mut connections = lock(&self.shared.connections);
            users.iter().map(|user| connections.begin_check(user)).collect()
        };
        let versions = self
            .timed_query(RoundTrip::People, &session, membership::versions(&mut session.connection(), users))
            .await?;
        let (mut rooms, mut accounts) = (Vec::new(), Vec::new());
        {
            let connections = lock(&self.shared.connections);
            for ((user, notice_count), versions) in users.iter().zip(before).zip(versions) {
                let diff = connections.diff(user, session.epoch, versions);
                let outdated = || OutdatedUser { user: user.clone(), notice_count, versions };
                rooms.extend(diff.rooms.then(outdated));
                accounts.extend(diff.account.then(outdated));
            }
        }
        for outdated in rooms {
            self.send_rooms_changed(session.epoch, &outdated);
        }
        Ok((session.epoch, accounts))
    }

    fn send_rooms_changed(&self, epoch: Epoch, outdated: &OutdatedUser) {
        let OutdatedUser { user, notice_count, versions } = outdated;
        let version = membership::wire_version(epoch, versions.rooms);
        let frame = Frame::text(ServerFrame::RoomsChanged { rooms_version: &version }.to_json());
        if self.send_event(user, UserEvent::RoomsChanged(frame)) {
            lock(&self.shared.connections).mark_rooms_sent(user, *notice_count, epoch, versions.rooms);
        }
    }

    /// Reads accounts from persistence, which never returns outdated data, and sends each to the user's connections.
    async fn send_accounts(&self, epoch: Epoch, outdated: Vec<OutdatedUser>) -> Result<(), LookupError> {
        if outdated.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = outdated.iter().map(|outdated| outdated.user.clone()).collect();
        let accounts = self.persistence.accounts(&users).await?;
        for (OutdatedUser { user, notice_count, versions }, account) in outdated.into_iter().zip(accounts) {
            let event = match account {
                Some(Account { name, picture, blocked: false }) => UserEvent::Account { name, picture },
                Some(Account { blocked: true, .. }) | None => UserEvent::Blocked,
            };
            if self.send_event(&user, event) {
                let mut connections = lock(&self.shared.connections);
                connections.mark_account_sent(&user, notice_count, epoch, versions.account);
            }
        }
        Ok(())
    }

    /// Sends an event to a user's connections. If a queue is full, returns false, and the user is checked again.
    fn send_event(&self, user: &UserId, event: UserEvent) -> bool {
        let workers = lock(&self.shared.connections).workers(user);
        let all_sent = self.shared.send_to_workers(user, workers, &Arc::new(event));
        if !all_sent {
            self.shared.recheck.check_later(user);
        }
        all_sent
    }
}
