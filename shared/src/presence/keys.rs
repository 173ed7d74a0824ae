//! Names of the Redis keys of presence, the presence partition of a user, and the id of a node lease.

use std::fmt;

use crate::{
    ids::UserId,
    log::{
        Layout,
        keys::{self, Partition, fnv1a},
    },
};

/// Number of presence partitions. It is low, because each node renews its lease in each partition.
pub const PARTITIONS: u8 = 16;

/// The name of the presence channel, without the tag of the partition.
const CHANNEL: &str = "presence";

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

    /// The partition of the log whose session serves this presence partition, and whose tag its keys have in a cluster.
    pub fn partition(self) -> Partition {
        Partition(u16::from(self.0) * (keys::PARTITIONS / u16::from(PARTITIONS)))
    }

    /// The number of the partition, from 0 on.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All partitions, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    fn key(self, layout: Layout, name: &str) -> String {
        match layout {
            Layout::Single => format!("{{u{:02}}}:presence:{name}", self.0),
            Layout::Cluster => self.partition().join_key(&["presence:", name]),
        }
    }

    /// The channel on which changes of presence are published. A single Redis has one channel for all partitions.
    pub(super) fn channel(self, layout: Layout) -> String {
        match layout {
            Layout::Single => CHANNEL.to_owned(),
            Layout::Cluster => self.partition().join_key(&[CHANNEL]),
        }
    }

    /// Key of the sorted set of users by the time when a state expires or a change must be published.
    pub(super) fn due(self, layout: Layout) -> String {
        self.key(layout, "due")
    }

    /// Key of the sorted set of node leases by the time when they expire.
    pub(super) fn leases(self, layout: Layout) -> String {
        self.key(layout, "lives")
    }

    /// Key of the set of users with a state under this lease.
    pub(super) fn users_of(self, layout: Layout, lease: &NodeLease) -> String {
        self.key(layout, &format!("life:{lease}"))
    }

    /// Key of the stream of the last 500 changes.
    pub(super) fn changes(self, layout: Layout) -> String {
        self.key(layout, "told")
    }

    /// Key of the hash of last-seen times that PostgreSQL has not stored yet.
    pub(super) fn last_seen(self, layout: Layout) -> String {
        self.key(layout, "gone")
    }
}

/// Key of the hash with the states of a user.
pub(super) fn user(layout: Layout, user: &UserId) -> String {
    PresencePartition::of(user).key(layout, &format!("user:{user}"))
}

/// The channels on which all changes of presence are published.
pub fn channels(layout: Layout) -> Vec<String> {
    let mut channels: Vec<String> = PresencePartition::all().map(|of| of.channel(layout)).collect();
    channels.dedup();
    channels
}

/// Whether a channel is one of [`channels`], in any layout.
pub fn is_presence_channel(channel: &str) -> bool {
    keys::untagged(channel).unwrap_or(channel) == CHANNEL
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

    #[test]
    fn names_of_presence_follow_the_layout() {
        let alice = UserId::parse("alice").unwrap();
        let partition = PresencePartition::of(&alice);
        assert_eq!(partition.partition(), Partition(28));
        assert_eq!(user(Layout::Single, &alice), "{u07}:presence:user:alice");
        assert_eq!(user(Layout::Cluster, &alice), "{28}:presence:user:alice");
        assert_eq!(partition.due(Layout::Cluster), "{28}:presence:due");
        assert_eq!(channels(Layout::Single), ["presence"]);
        let in_cluster = channels(Layout::Cluster);
        assert_eq!((in_cluster.len(), in_cluster[15].as_str()), (16, "{60}:presence"));
        assert!(in_cluster.iter().chain(&channels(Layout::Single)).all(|name| is_presence_channel(name)));
        assert!(!is_presence_channel("{28}:user:presence"));
    }
}
