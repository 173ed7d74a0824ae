//! Names of the keys of presence, and the partition that a user belongs to.

use super::Life;
use crate::ids::UserId;

/// Few, since each node renews a lease in each of them.
pub const PARTITIONS: u8 = 16;

/// A share of all users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u8);

impl Partition {
    /// FNV-1a 64 of the user id, modulo the number of partitions. Nodes of all versions must agree on it.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        let hash = user.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(u8::try_from(hash % u64::from(PARTITIONS)).expect("a remainder of 16 fits"))
    }

    /// Its place among all, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    fn key(self, name: &str) -> String {
        format!("{{u{:02}}}:presence:{name}", self.0)
    }

    pub(super) fn due(self) -> String {
        self.key("due")
    }

    pub(super) fn lives(self) -> String {
        self.key("lives")
    }

    pub(super) fn users_of(self, life: &Life) -> String {
        self.key(&format!("life:{life}"))
    }

    pub(super) fn told(self) -> String {
        self.key("told")
    }

    pub(super) fn gone(self) -> String {
        self.key("gone")
    }
}

pub(super) fn user(user: &UserId) -> String {
    Partition::of(user).key(&format!("user:{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_user_never_changes() {
        for (id, partition) in [("alice", 7), ("bob", 4), ("firebase:abc/def", 2), ("Zoë", 12)] {
            assert_eq!(Partition::of(&UserId::parse(id).unwrap()), Partition(partition), "{id}");
        }
    }
}
