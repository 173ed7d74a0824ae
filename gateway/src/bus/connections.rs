//! The users connected to this node: the keys of their connections, oldest first, and the versions of memberships and
//! account that all these connections know. Pure. All workers share the registry under one lock, which is taken only
//! when connections open or close, for notices and for checks.

use std::mem;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, UserId},
    membership::Versions,
};

use crate::one_or_many::OneOrMany;

/// A connection of this node: its worker and its id there, packed into one word because there is one key per
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionKey(u64);

impl ConnectionKey {
    const WORKER_SHIFT: u32 = 58;
    /// Marks the key of a long poll, which receives the user's events but does not count towards the limit of
    /// connections.
    const POLL: u64 = 1 << 57;
    /// The ids of polls have their highest bit set.
    const POLL_ID: u64 = 1 << 63;

    pub fn new(worker: usize, id: u64) -> Self {
        let poll = if id & Self::POLL_ID == 0 { 0 } else { Self::POLL };
        Self((worker as u64) << Self::WORKER_SHIFT | poll | (id & (Self::POLL - 1)))
    }

    pub(super) fn worker(self) -> usize {
        // Six bits, because there are at most 64 workers.
        (self.0 >> Self::WORKER_SHIFT) as usize
    }

    fn is_poll(self) -> bool {
        self.0 & Self::POLL != 0
    }
}

/// Takes the place of a version if the user's connections may have missed a change. No real version is equal to it.
const UNKNOWN_VERSION: u32 = u32::MAX;

#[derive(Debug, Default)]
struct UserEntry {
    keys: OneOrMany<ConnectionKey>,
    /// The versions of memberships and account that all connections know, in [`ConnectionRegistry::epoch`]: the low
    /// halves.
    rooms: u32,
    account: u32,
    /// Number of connections that are being admitted.
    pending: u16,
    /// Number of notices. It shows whether a notice arrived while a connection was being admitted, because notices do
    /// not reach such a connection.
    notice_count: u16,
    /// Whether Redis has confirmed the user's channel.
    confirmed: bool,
    /// Distinguishes this entry from an earlier one of the same user.
    generation: u16,
}

impl UserEntry {
    fn is_empty(&self) -> bool {
        self.pending == 0 && self.keys.is_empty()
    }
}

/// The low half of a version, which is enough to compare: two versions with the same low half are four billion changes
/// apart.
fn low(version: u64) -> u32 {
    (version & u64::from(u32::MAX)) as u32
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    /// The user's oldest connection, if the user has one too many.
    pub surplus: Option<ConnectionKey>,
    /// A notice arrived while the connection was being admitted: the user must be checked again.
    pub missed_notice: bool,
}

/// Which versions differ from the versions that a user's connections know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VersionDiff {
    pub rooms: bool,
    pub account: bool,
}

#[derive(Debug)]
pub(super) struct ConnectionRegistry {
    users: FxHashMap<UserId, UserEntry>,
    epoch: Epoch,
    /// Maximum of connections of one user. One more connection removes the oldest.
    per_user: usize,
    generation: u16,
}

impl ConnectionRegistry {
    pub fn new(per_user: usize) -> Self {
        Self { users: FxHashMap::default(), epoch: Epoch::default(), per_user, generation: 0 }
    }

    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_confirmed(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|entry| entry.confirmed)
    }

    /// Redis has confirmed the channel that the entry of this generation requested.
    pub fn confirm(&mut self, user: &UserId, generation: u16) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.confirmed |= entry.generation == generation;
        }
    }

    /// A connection is being admitted; the user's channel is wanted from now on. Returns the generation of the user's
    /// entry, for [`ConnectionRegistry::confirm`].
    pub fn begin(&mut self, user: &UserId) -> u16 {
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

    pub fn notice_count(&self, user: &UserId) -> u16 {
        self.users.get(user).map_or(0, |entry| entry.notice_count)
    }

    /// Begins a check of a user, and returns the number of notices. The check does not reach connections that are being
    /// admitted. So it counts as a notice for them: the user is checked again when they register.
    pub fn begin_check(&mut self, user: &UserId) -> u16 {
        self.users.get_mut(user).map_or(0, |entry| {
            if entry.pending > 0 {
                entry.notice_count = entry.notice_count.wrapping_add(1);
            }
            entry.notice_count
        })
    }

    /// A connection that was being admitted was not registered. Returns true if the channel is not wanted any more.
    pub fn cancel(&mut self, user: &UserId) -> bool {
        let Some(entry) = self.users.get_mut(user) else { return false };
        entry.pending = entry.pending.saturating_sub(1);
        self.remove_if_empty(user)
    }

    /// Registers a connection that knows `versions`, which were read in `epoch` after `notice_count` notices.
    pub fn register(
        &mut self,
        user: &UserId,
        key: ConnectionKey,
        notice_count: u16,
        (epoch, versions): (Epoch, Versions),
    ) -> Registered {
        self.enter_epoch(epoch);
        let Some(entry) = self.users.get_mut(user) else { return Registered::default() };
        entry.pending = entry.pending.saturating_sub(1);
        let (same_epoch, first) = (epoch == self.epoch, entry.keys.is_empty());
        // The user's other connections may know older versions. Only versions that all of them know are kept.
        let known_by_all = |current: u32, version: u64| {
            let known = first || current == low(version);
            if same_epoch && known { low(version) } else { UNKNOWN_VERSION }
        };
        entry.rooms = known_by_all(entry.rooms, versions.rooms);
        entry.account = known_by_all(entry.account, versions.account);
        entry.keys.add(key);
        let counted = || entry.keys.as_slice().iter().filter(|key| !key.is_poll());
        let surplus = if counted().count() > self.per_user { counted().next().copied() } else { None };
        if let Some(surplus) = surplus {
            entry.keys.remove(|key| *key == surplus);
        }
        Registered { surplus, missed_notice: entry.notice_count != notice_count }
    }

    /// Puts a surplus connection back as the oldest, because the event that closes it could not be queued. The user's
    /// next connection causes another attempt.
    pub fn restore_oldest(&mut self, user: &UserId, surplus: ConnectionKey) {
        if let Some(entry) = self.users.get_mut(user) {
            let later = mem::take(&mut entry.keys);
            entry.keys = OneOrMany::One(surplus);
            later.as_slice().iter().for_each(|key| entry.keys.add(*key));
        }
    }

    /// Removes a connection. Returns true if the channel is not wanted any more.
    pub fn unregister(&mut self, user: &UserId, key: ConnectionKey) -> bool {
        let Some(entry) = self.users.get_mut(user) else { return false };
        entry.keys.remove(|current| *current == key);
        self.remove_if_empty(user)
    }

    fn remove_if_empty(&mut self, user: &UserId) -> bool {
        let empty = self.users.get(user).is_some_and(UserEntry::is_empty);
        empty && self.users.remove(user).is_some()
    }

    /// Counts a notice for the user. `register` compares the count, so a connection that is being admitted cannot miss
    /// a notice. Returns the user if connected to this node.
    pub fn count_notice(&mut self, user: &str) -> Option<UserId> {
        let entry = self.users.get_mut(user)?;
        entry.notice_count = entry.notice_count.wrapping_add(1);
        self.find(user)
    }

    /// The user with this id, if connected to this node.
    pub fn find(&self, user: &str) -> Option<UserId> {
        self.users.get_key_value(user).map(|(user, _)| user.clone())
    }

    /// One bit for each worker with a connection of the user.
    pub fn workers(&self, user: &UserId) -> u64 {
        let keys = self.users.get(user).into_iter().flat_map(|entry| entry.keys.as_slice());
        keys.fold(0, |workers, key| workers | 1 << key.worker())
    }

    /// The user's list of rooms has changed, or an event about the list was not delivered: its version is unknown from
    /// now on.
    pub fn invalidate_rooms(&mut self, user: &UserId) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.rooms = UNKNOWN_VERSION;
        }
    }

    pub fn invalidate_account(&mut self, user: &UserId) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.account = UNKNOWN_VERSION;
        }
    }

    /// Compares versions that were read just now with the versions that the user's connections know.
    pub fn diff(&self, user: &UserId, epoch: Epoch, versions: Versions) -> VersionDiff {
        match self.users.get(user) {
            Some(entry) => VersionDiff {
                rooms: epoch != self.epoch || entry.rooms != low(versions.rooms),
                account: epoch != self.epoch || entry.account != low(versions.account),
            },
            None => VersionDiff { rooms: false, account: false },
        }
    }

    /// Records that all connections of the user know this version of the rooms, unless a notice arrived after
    /// `notice_count`.
    pub fn mark_rooms_sent(&mut self, user: &UserId, notice_count: u16, epoch: Epoch, version: u64) {
        if let Some(entry) = self.unchanged_entry(user, notice_count, epoch) {
            entry.rooms = low(version);
        }
    }

    /// As [`ConnectionRegistry::mark_rooms_sent`], for the account.
    pub fn mark_account_sent(&mut self, user: &UserId, notice_count: u16, epoch: Epoch, version: u64) {
        if let Some(entry) = self.unchanged_entry(user, notice_count, epoch) {
            entry.account = low(version);
        }
    }

    fn enter_epoch(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            // The versions of all entries are of an earlier epoch, so they cannot be compared any more.
            self.epoch = epoch;
            self.users
                .values_mut()
                .for_each(|entry| (entry.rooms, entry.account) = (UNKNOWN_VERSION, UNKNOWN_VERSION));
        }
    }

    fn unchanged_entry(&mut self, user: &UserId, notice_count: u16, epoch: Epoch) -> Option<&mut UserEntry> {
        self.enter_epoch(epoch);
        let same_epoch = epoch == self.epoch;
        self.users.get_mut(user).filter(|entry| same_epoch && entry.notice_count == notice_count)
    }
}

#[cfg(test)]
mod tests;
