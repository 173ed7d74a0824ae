//! The registry of the users connected to this node. For each user it holds the keys of the connections, oldest first,
//! and the versions of memberships and account that all these connections have received. The module is pure. All
//! workers share the registry under one lock, which is taken only when connections open or close, for notices, and when
//! versions are compared with Redis.

use std::mem;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, UserId},
    log::keys::{Partition, PartitionSet},
    membership::Versions,
};

use crate::one_or_many::OneOrMany;

/// Identifies a connection of this node by its worker and its id on the worker, packed into one word to save memory,
/// because there is one key per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionKey(u64);

impl ConnectionKey {
    const WORKER_SHIFT: u32 = 58;
    /// Marks the key of a long poll, which does not count towards the maximum number of connections.
    const POLL_BIT: u64 = 1 << 57;
    /// The bit that is set in the ids of polls and clear in the ids of other connections.
    const POLL_ID_BIT: u64 = 1 << 63;

    /// The key of the connection with this `id`, whose highest bit is set if the connection is a poll.
    pub fn new(worker: usize, id: u64) -> Self {
        let poll = if id & Self::POLL_ID_BIT == 0 { 0 } else { Self::POLL_BIT };
        Self((worker as u64) << Self::WORKER_SHIFT | poll | (id & (Self::POLL_BIT - 1)))
    }

    pub(super) fn worker(self) -> usize {
        // The worker has six bits, because there are at most 64 workers.
        (self.0 >> Self::WORKER_SHIFT) as usize
    }

    fn is_poll(self) -> bool {
        self.0 & Self::POLL_BIT != 0
    }
}

/// Stored instead of a version if the user's connections may have missed a change. The next comparison with Redis finds
/// a difference.
const UNKNOWN_VERSION: u32 = u32::MAX;
/// Stored instead of a version of an earlier epoch. The next comparison with Redis finds a difference, even if nothing
/// has changed.
const EARLIER_VERSION: u32 = u32::MAX - 1;

#[derive(Debug, Default)]
struct UserEntry {
    keys: OneOrMany<ConnectionKey>,
    /// The latest epoch of the user's partition in which versions were read or sent.
    epoch: Epoch,
    /// The low half of the version of the memberships that all connections have, in `epoch`.
    rooms: u32,
    /// The low half of the version of the account that all connections have, in `epoch`.
    account: u32,
    /// Number of connections that are being admitted.
    pending: u16,
    /// Number of notices, which may wrap around. If the number changes while a connection is being admitted, the
    /// connection has missed a notice.
    notice_count: u16,
    /// Whether Redis has confirmed the user's channel.
    confirmed: bool,
    /// Distinguishes this entry from an earlier entry of the same user.
    generation: u16,
}

impl UserEntry {
    fn is_empty(&self) -> bool {
        self.pending == 0 && self.keys.is_empty()
    }

    /// Makes `epoch` the entry's epoch, if it is later than the entry's epoch.
    fn enter_epoch(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            // The versions belong to an earlier epoch, so they cannot be compared with new versions.
            self.epoch = epoch;
            if self.rooms != UNKNOWN_VERSION {
                self.rooms = EARLIER_VERSION;
            }
            self.account = UNKNOWN_VERSION;
        }
    }
}

/// The low half of a version, which is enough for a comparison: two different versions with the same low half are at
/// least four billion changes apart.
fn low_half(version: u64) -> u32 {
    (version & u64::from(u32::MAX)) as u32
}

/// The result of [`ConnectionRegistry::register`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RegistrationResult {
    /// The user's oldest connection, which must close because the user has one connection too many.
    pub surplus: Option<ConnectionKey>,
    /// Whether a notice arrived while the connection was being admitted, so that the user's versions must be compared
    /// with Redis again.
    pub missed_notice: bool,
}

/// Whether the versions in Redis differ from the versions that a user's connections have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VersionDiff {
    pub rooms: bool,
    pub account: bool,
}

/// The users with a connection on this node, open or being admitted.
#[derive(Debug)]
pub(super) struct ConnectionRegistry {
    users: FxHashMap<UserId, UserEntry>,
    /// Maximum number of connections of one user; polls do not count. One more connection evicts the oldest.
    max_per_user: usize,
    /// The generation of the newest entry.
    generation: u16,
}

impl ConnectionRegistry {
    pub fn new(max_per_user: usize) -> Self {
        Self { users: FxHashMap::default(), max_per_user, generation: 0 }
    }

    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    /// The users of these partitions.
    pub fn users_of(&self, partitions: PartitionSet) -> impl Iterator<Item = &UserId> {
        self.users().filter(move |user| {
            partitions == PartitionSet::ALL || partitions.contains(Partition::of_user(user))
        })
    }

    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Whether Redis has confirmed the user's channel; false if the user has no entry.
    pub fn is_channel_confirmed(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|entry| entry.confirmed)
    }

    /// Records that Redis has confirmed the user's channel, if the user's entry still has this generation.
    pub fn confirm_channel(&mut self, user: &UserId, generation: u16) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.confirmed |= entry.generation == generation;
        }
    }

    /// Begins the registration of a connection. Adds an entry for the user if there is none. Returns the generation of
    /// the user's entry, for [`ConnectionRegistry::confirm_channel`].
    pub fn begin_registration(&mut self, user: &UserId) -> u16 {
        let generation = self.generation.wrapping_add(1);
        let entry = self
            .users
            .entry(user.clone())
            .or_insert_with(|| UserEntry { generation, ..UserEntry::default() });
        entry.pending = entry.pending.saturating_add(1);
        if entry.generation == generation {
            self.generation = generation;
        }
        entry.generation
    }

    /// The number of notices so far, for [`ConnectionRegistry::register`]; 0 if the user has no entry.
    pub fn notice_count(&self, user: &UserId) -> u16 {
        self.users.get(user).map_or(0, |entry| entry.notice_count)
    }

    /// Begins a comparison of the user's versions with Redis, and returns the notice count. If a connection is being
    /// admitted, the comparison counts as a notice, because this connection does not get the result. The versions are
    /// compared again when the connection registers.
    pub fn begin_check(&mut self, user: &UserId) -> u16 {
        self.users.get_mut(user).map_or(0, |entry| {
            if entry.pending > 0 {
                entry.notice_count = entry.notice_count.wrapping_add(1);
            }
            entry.notice_count
        })
    }

    /// Cancels the registration of a connection. Returns true if the user's channel must be unsubscribed.
    pub fn cancel_registration(&mut self, user: &UserId) -> bool {
        let Some(entry) = self.users.get_mut(user) else { return false };
        entry.pending = entry.pending.saturating_sub(1);
        self.remove_if_empty(user)
    }

    /// Registers a connection with `versions`, which were read in `epoch` after `notice_count` notices.
    pub fn register(
        &mut self,
        user: &UserId,
        key: ConnectionKey,
        notice_count: u16,
        (epoch, versions): (Epoch, Versions),
    ) -> RegistrationResult {
        let Some(entry) = self.users.get_mut(user) else { return RegistrationResult::default() };
        entry.enter_epoch(epoch);
        entry.pending = entry.pending.saturating_sub(1);
        let (same_epoch, first) = (epoch == entry.epoch, entry.keys.is_empty());
        // The user's other connections may have older versions. A version is kept only if all connections have it.
        let known_by_all = |current: u32, version: u64| {
            let known = first || current == low_half(version);
            if same_epoch && known { low_half(version) } else { UNKNOWN_VERSION }
        };
        entry.rooms = known_by_all(entry.rooms, versions.rooms);
        entry.account = known_by_all(entry.account, versions.account);
        entry.keys.push(key);
        let without_polls = || entry.keys.as_slice().iter().filter(|key| !key.is_poll());
        let surplus =
            if without_polls().count() > self.max_per_user { without_polls().next().copied() } else { None };
        if let Some(surplus) = surplus {
            entry.keys.remove(|key| *key == surplus);
        }
        RegistrationResult { surplus, missed_notice: entry.notice_count != notice_count }
    }

    /// Puts a surplus connection back as the oldest, because the event that closes the connection could not be queued.
    /// The bus tries again when the user opens another connection.
    pub fn restore_oldest(&mut self, user: &UserId, surplus: ConnectionKey) {
        if let Some(entry) = self.users.get_mut(user) {
            let later = mem::take(&mut entry.keys);
            entry.keys = OneOrMany::One(surplus);
            later.as_slice().iter().for_each(|key| entry.keys.push(*key));
        }
    }

    /// Removes a connection. Returns true if the user's channel must be unsubscribed.
    pub fn unregister(&mut self, user: &UserId, key: ConnectionKey) -> bool {
        let Some(entry) = self.users.get_mut(user) else { return false };
        entry.keys.remove(|current| *current == key);
        self.remove_if_empty(user)
    }

    fn remove_if_empty(&mut self, user: &UserId) -> bool {
        let empty = self.users.get(user).is_some_and(UserEntry::is_empty);
        empty && self.users.remove(user).is_some()
    }

    /// Counts a notice for the user. [`ConnectionRegistry::register`] compares the count, so a notice that arrives
    /// while a connection is being admitted is detected. Returns `None` if the user is not connected to this node.
    pub fn count_notice(&mut self, user: &str) -> Option<UserId> {
        let entry = self.users.get_mut(user)?;
        entry.notice_count = entry.notice_count.wrapping_add(1);
        self.find_user(user)
    }

    /// The user with this id; `None` if the user is not connected to this node.
    pub fn find_user(&self, user: &str) -> Option<UserId> {
        self.users.get_key_value(user).map(|(user, _)| user.clone())
    }

    /// One bit for each worker with a connection of the user.
    pub fn workers(&self, user: &UserId) -> u64 {
        let keys = self.users.get(user).into_iter().flat_map(|entry| entry.keys.as_slice());
        keys.fold(0, |workers, key| workers | 1 << key.worker())
    }

    /// Marks the version of the user's memberships as unknown, so that the next comparison with Redis finds a
    /// difference.
    pub fn invalidate_rooms(&mut self, user: &UserId) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.rooms = UNKNOWN_VERSION;
        }
    }

    /// Does the same as [`ConnectionRegistry::invalidate_rooms`] for the version of the account.
    pub fn invalidate_account(&mut self, user: &UserId) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.account = UNKNOWN_VERSION;
        }
    }

    /// Compares versions that were just read from Redis with the versions that the user's connections have.
    pub fn diff(&self, user: &UserId, epoch: Epoch, versions: Versions) -> VersionDiff {
        let Some(entry) = self.users.get(user) else { return VersionDiff::default() };
        VersionDiff {
            rooms: epoch != entry.epoch || entry.rooms != low_half(versions.rooms),
            account: epoch != entry.epoch || entry.account != low_half(versions.account),
        }
    }

    /// Whether the versions of the memberships differ only because `epoch` is newer: this node knows of no change that
    /// the user's connections have missed.
    pub fn differs_by_epoch_only(&self, user: &UserId, epoch: Epoch) -> bool {
        self.users.get(user).is_some_and(|entry| match entry.rooms {
            UNKNOWN_VERSION => false,
            EARLIER_VERSION => true,
            _ => epoch > entry.epoch,
        })
    }

    /// Records that all connections of the user have this version of the memberships. Does nothing if the user's notice
    /// count is not `notice_count`, because the version may then be outdated.
    pub fn mark_rooms_sent(&mut self, user: &UserId, notice_count: u16, epoch: Epoch, version: u64) {
        if let Some(entry) = self.entry_without_later_notice(user, notice_count, epoch) {
            entry.rooms = low_half(version);
        }
    }

    /// Does the same as [`ConnectionRegistry::mark_rooms_sent`] for the version of the account.
    pub fn mark_account_sent(&mut self, user: &UserId, notice_count: u16, epoch: Epoch, version: u64) {
        if let Some(entry) = self.entry_without_later_notice(user, notice_count, epoch) {
            entry.account = low_half(version);
        }
    }

    /// Enters `epoch`, and returns the user's entry. `None` if the user's notice count is not `notice_count`, or if
    /// `epoch` has ended.
    fn entry_without_later_notice(
        &mut self,
        user: &UserId,
        notice_count: u16,
        epoch: Epoch,
    ) -> Option<&mut UserEntry> {
        let entry = self.users.get_mut(user)?;
        entry.enter_epoch(epoch);
        (epoch == entry.epoch && entry.notice_count == notice_count).then_some(entry)
    }
}

#[cfg(test)]
mod tests;
