//! Compares the versions of memberships and accounts in Redis with the versions that the connections of users have, and
//! notifies the connections whose versions differ. The users of a partition are checked when its pub/sub is online
//! again. One user is checked after a notice about the account, and when the user may have missed a notice. One command
//! reads the versions of many users of one session.

use std::{
    mem,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use rustc_hash::FxHashSet;
use tidings_shared::{
    ids::{Epoch, UserId},
    log::{
        RoundTrip, Session,
        keys::{Partition, PartitionSet},
    },
    membership::{self, Account, Versions},
    protocol::server::ServerFrame,
};
use tokio::sync::Notify;

use super::{
    Bus, LookupError,
    paced::{PacedQueue, time_to_empty_ms},
    worker_queue::UserEvent,
};
use crate::{lock::lock, transport::Frame};

/// Maximum number of users whose versions one command reads.
const MAX_USERS_PER_CHECK: usize = 500;
/// For this time after the start of an epoch, clients that connect get `spread_ms`, so that they do not all read their
/// rooms at once.
const SPREAD_PERIOD_AFTER_EPOCH: Duration = Duration::from_secs(120);
/// Delay before a failed check is repeated, short because a blocked user must be disconnected within 5 s.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The users to check: connected users, and some users who have just disconnected.
#[derive(Debug, Default)]
pub(super) struct RecheckQueue {
    due: Mutex<DueUsers>,
    wake: Notify,
    /// The users for whom only the epoch has changed. They get `rooms:changed` in batches, over time.
    epoch_changed: PacedQueue<(Epoch, OutdatedUser)>,
}

#[derive(Debug, Default)]
struct DueUsers {
    /// The partitions whose users are all due.
    partitions: PartitionSet,
    users: FxHashSet<UserId>,
}

impl RecheckQueue {
    /// Schedules a check of a user, and wakes [`run_checks`].
    pub fn schedule_check(&self, user: &UserId) {
        lock(&self.due).users.insert(user.clone());
        self.wake.notify_one();
    }

    /// Schedules another check of a user after a pause. Must be called only during a check: the task looks for such
    /// users when the check ends.
    fn schedule_later_check(&self, user: &UserId) {
        lock(&self.due).users.insert(user.clone());
    }

    /// Schedules a check of all users of these partitions in the connection registry, and wakes [`run_checks`].
    pub fn schedule_check_of(&self, partitions: PartitionSet) {
        self.add(DueUsers { partitions, users: FxHashSet::default() });
        self.wake.notify_one();
    }

    /// Adds users to check, without waking [`run_checks`].
    fn add(&self, more: DueUsers) {
        let mut due = lock(&self.due);
        due.partitions = due.partitions | more.partitions;
        due.users.extend(more.users);
    }
}

/// A user whose connections have an old version of the memberships or of the account.
#[derive(Debug)]
struct OutdatedUser {
    user: UserId,
    notice_count: u16,
    versions: Versions,
}

/// Checks the scheduled users until the bus is dropped.
pub(super) async fn run_checks(bus: Weak<Bus>) {
    let Some(shared) = bus.upgrade().map(|bus| bus.shared.clone()) else { return };
    loop {
        shared.recheck.wake.notified().await;
        let Some(bus) = bus.upgrade() else { return };
        let due = mem::take(&mut *lock(&shared.recheck.due));
        let paced = !due.partitions.is_empty();
        let is_of_partitions = |user: &UserId| due.partitions.contains(Partition::of_user(user));
        let mut users: Vec<UserId> = due.users.into_iter().filter(|user| !is_of_partitions(user)).collect();
        if paced {
            shared.recheck.epoch_changed.retain(|(_, outdated)| !is_of_partitions(&outdated.user));
            users.extend(lock(&shared.connections).users_of(due.partitions).cloned());
        }
        let mut accounts = Vec::new();
        for (session, mut unchecked) in bus.log.group_by_current_session(users.clone(), Partition::of_user) {
            users.retain(|user| !session.partitions.contains(Partition::of_user(user)));
            while !unchecked.is_empty() {
                let batch = unchecked.split_off(unchecked.len().saturating_sub(MAX_USERS_PER_CHECK));
                match bus.check_versions(&session, &batch, paced).await {
                    Ok(differing) => accounts.push((session.epoch, differing)),
                    Err(error) => {
                        unchecked.extend(batch);
                        tracing::debug!(%error, users = unchecked.len(), "users cannot be checked now; retrying");
                        let partitions = due.partitions & session.partitions;
                        shared.recheck.add(DueUsers { partitions, users: unchecked.into_iter().collect() });
                        break;
                    }
                }
            }
        }
        bus.recheck_after_opening_sessions(DueUsers {
            partitions: due.partitions,
            users: users.into_iter().collect(),
        });
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

/// Sends `rooms:changed` over time to users for whom the epoch has changed, until the bus is dropped.
pub(super) async fn run_paced_sends(bus: Weak<Bus>) {
    let Some(shared) = bus.upgrade().map(|bus| bus.shared.clone()) else { return };
    let send = |outdated: Vec<(Epoch, OutdatedUser)>| {
        let Some(bus) = bus.upgrade() else { return false };
        for (epoch, outdated) in outdated {
            // The difference is gone if the user has reconnected meanwhile.
            let differs = lock(&shared.connections).diff(&outdated.user, epoch, outdated.versions).rooms;
            if differs {
                bus.send_rooms_changed(epoch, &outdated);
            }
        }
        true
    };
    shared.recheck.epoch_changed.run(send).await;
}

impl Bus {
    /// The time in ms over which a user's clients should spread the reads of outdated room lists. Grows with the number
    /// of users of this node, like the time in which [`run_paced_sends`] sends `rooms:changed`. `None` unless an epoch
    /// of the user's partition has just begun, because at other times few lists are outdated.
    pub fn rooms_spread_ms(&self, user: &UserId) -> Option<u64> {
        let age = self.log.current_session(Partition::of_user(user))?.epoch_age();
        let users = lock(&self.shared.connections).user_count();
        (age < SPREAD_PERIOD_AFTER_EPOCH).then(|| time_to_empty_ms(users))
    }

    /// Opens the sessions of users without a session, and then schedules their check again. Runs as a task of its own,
    /// because a shard that cannot be reached must not delay the checks of other users.
    fn recheck_after_opening_sessions(&self, due: DueUsers) {
        if due.users.is_empty() {
            return;
        }
        let (log, shared) = (self.log.clone(), self.shared.clone());
        tokio::spawn(async move {
            let users: Vec<UserId> = due.users.iter().cloned().collect();
            let partitions: PartitionSet = users.iter().map(Partition::of_user).collect();
            if let Err(error) = log.group_by_session(users, Partition::of_user).await {
                tracing::debug!(%error, users = due.users.len(), "users cannot be checked now; retrying");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            shared.recheck.add(DueUsers { partitions: due.partitions & partitions, ..due });
            shared.recheck.wake.notify_one();
        });
    }

    /// Sends `rooms:changed` to users whose connections have an old version of the memberships. The session is that of
    /// the users' partitions. With `paced`, users for whom only the epoch has changed get the frame later, in batches,
    /// so that their clients do not all read their rooms at once. Returns the users whose connections have an old
    /// version of the account.
    async fn check_versions(
        &self,
        session: &Arc<Session>,
        users: &[UserId],
        paced: bool,
    ) -> Result<Vec<OutdatedUser>, LookupError> {
        if self.enter_layout(session.layout()).is_err() {
            tracing::debug!("the channels of users cannot be subscribed now");
        }
        let notice_counts: Vec<u16> = {
            let mut connections = lock(&self.shared.connections);
            users.iter().map(|user| connections.begin_check(user)).collect()
        };
        let versions = self
            .timed_query(RoundTrip::People, session, membership::versions(&mut session.connection(), users))
            .await?;
        let (mut rooms, mut later, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
        {
            let connections = lock(&self.shared.connections);
            for ((user, notice_count), versions) in users.iter().zip(notice_counts).zip(versions) {
                let diff = connections.diff(user, session.epoch, versions);
                let outdated = || OutdatedUser { user: user.clone(), notice_count, versions };
                if diff.rooms && paced && connections.differs_by_epoch_only(user, session.epoch) {
                    later.push((session.epoch, outdated()));
                } else {
                    rooms.extend(diff.rooms.then(outdated));
                }
                accounts.extend(diff.account.then(outdated));
            }
        }
        for outdated in rooms {
            self.send_rooms_changed(session.epoch, &outdated);
        }
        self.shared.recheck.epoch_changed.extend(later);
        Ok(accounts)
    }

    fn send_rooms_changed(&self, epoch: Epoch, outdated: &OutdatedUser) {
        let OutdatedUser { user, notice_count, versions } = outdated;
        let version = membership::wire_version(epoch, versions.rooms);
        let frame =
            Frame::text(ServerFrame::RoomsChanged { rooms_version: &version, spread_ms: None }.to_json());
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

    /// Sends an event to a user's connections. If a queue is full, returns false and schedules another check of the
    /// user.
    fn send_event(&self, user: &UserId, event: UserEvent) -> bool {
        let workers = lock(&self.shared.connections).workers(user);
        let all_sent = self.shared.send_to_workers(user, workers, &Arc::new(event));
        if !all_sent {
            self.shared.recheck.schedule_later_check(user);
        }
        all_sent
    }
}
