//! Names of the Redis keys of presence, the presence partition of a user, and the id of a node lease.

use std::fmt;

use crate::{ids::UserId, log::keys::fnv1a};

/// Number of presence partitions. It is low, because each node renews its lease in each partition.
pub const PARTITIONS: u8 = 16;

/// The id of a node lease, under which a gateway reports its users as present. An expired lease is never renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLease(pub(super) String);

impl NodeLease {
    /// Creates a new unique id.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }
}

impl fmt::Display for NodeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a presence partition, which is one of 16 shares of the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PresencePartition(u8);

impl PresencePartition {
    /// Returns the partition of a user: the FNV-1a hash of the user id, modulo [`PARTITIONS`]. The result must be the
    /// same in all versions of the services.
    pub fn of(user: &UserId) -> Self {
        let hash = fnv1a(user.as_str());
        Self(u8::try_from(hash % u64::from(PARTITIONS)).expect("a remainder of 16 fits"))
    }

    /// The number of the partition, from 0 on.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All partitions, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    fn key(self, name: &str) -> String {
        format!("{{u{:02}}}:presence:{name}", self.0)
    }

    /// Key of the sorted set of users by the time when a state expires or a change must be published.
    pub(super) fn due(self) -> String {
        self.key("due")
    }

    /// Key of the sorted set of node leases by the time when they expire.
    pub(super) fn leases(self) -> String {
        self.key("lives")
    }

    /// Key of the set of users with a state under this lease.
    pub(super) fn users_of(self, lease: &NodeLease) -> String {
        self.key(&format!("life:{lease}"))
    }

    /// Key of the stream of the last 500 changes.
    pub(super) fn changes(self) -> String {
        self.key("told")
    }

    /// Key of the hash of last-seen times that PostgreSQL has not stored yet.
    pub(super) fn last_seen(self) -> String {
        self.key("gone")
    }
}

/// Key of the hash with the states of a user.
pub(super) fn user(user: &UserId) -> String {
    PresencePartition::of(user).key(&format!("user:{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_of_a_user_is_stable() {
        for (id, partition) in [("alice", 7), ("bob", 4), ("firebase:abc/def", 2), ("Zoë", 12)] {
            assert_eq!(
                PresencePartition::of(&UserId::parse(id).unwrap()),
                PresencePartition(partition),
                "{id}"
            );
        }
    }
}
