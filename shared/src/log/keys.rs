//! Names of the keys and channels of the room log, and the partition of a room or user.

use std::{
    ops::{BitAnd, BitOr, Sub},
    sync::LazyLock,
};

use super::layout::Layout;
use crate::ids::{RoomId, UserId};

/// Number of partitions, which never changes. Persistence checks that the table `partitions` has as many rows.
pub const PARTITIONS: u16 = 64;

/// The partition whose session serves the keys and channels that belong to no room and no user: [`leases_channel`] and
/// the reservations of exclusive tasks.
pub const COMMON_PARTITION: Partition = Partition(0);

const LEASES: &str = "leases";

/// The number of a partition, which is one of 64 shares of the rooms and of the users. Each partition has one ingest
/// stream and one stored watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u16);

impl Partition {
    /// Returns the partition of a room: the FNV-1a hash of the room id, modulo [`PARTITIONS`]. This function must never
    /// change, because stored data depends on it.
    pub fn of(room: &RoomId) -> Self {
        Self::of_id(room.as_str())
    }

    /// Returns the partition of a user: the same hash as [`Partition::of`], of the user id.
    pub fn of_user(user: &UserId) -> Self {
        Self::of_id(user.as_str())
    }

    /// Returns the partition of a room or user with this id.
    pub fn of_id(id: &str) -> Self {
        Self(u16::try_from(fnv1a(id) % u64::from(PARTITIONS)).expect("a remainder of 64 fits"))
    }

    /// Joins `{pp}:` and the parts of a key. `format!` would be slower, and each command needs several keys.
    pub(crate) fn join_key(self, rest: &[&str]) -> String {
        let mut key = String::with_capacity(5 + rest.iter().map(|part| part.len()).sum::<usize>());
        key.push('{');
        key.push(char::from(b'0' + (self.0 / 10 % 10) as u8));
        key.push(char::from(b'0' + (self.0 % 10) as u8));
        key.push_str("}:");
        rest.iter().for_each(|part| key.push_str(part));
        key
    }

    /// The partition whose process has the channel: that of the tag `{pp}`, or [`COMMON_PARTITION`] without a tag.
    pub fn of_channel(channel: &str) -> Self {
        let tag = channel.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        tag.and_then(|(digits, _)| Self::parse(digits)).unwrap_or(COMMON_PARTITION)
    }

    /// All partitions, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    /// Key of the ingest stream, which persistence reads. The keys are cached, because each append needs one.
    pub fn ingest(self) -> &'static str {
        static INGEST_KEYS: LazyLock<Vec<String>> =
            LazyLock::new(|| Partition::all().map(|partition| partition.join_key(&["ingest"])).collect());
        INGEST_KEYS.get(usize::from(self.0)).map_or("", String::as_str)
    }

    /// Key of the stored watermark. Also the name of the channel of those watermark notices that begin with this
    /// partition.
    pub fn stored(self) -> String {
        self.join_key(&["stored"])
    }

    /// Key of the list of windows of recent client ids; the hash of a window has `:<window>` appended to this name.
    pub fn sent(self) -> String {
        self.join_key(&["sent"])
    }

    /// Key of the hash of exceptions: records up to the stored watermark that became voids, with their outcomes.
    pub fn exceptions(self) -> String {
        self.join_key(&["exceptions"])
    }

    /// Key of the number of the partition's epoch. It exists only in a Redis Cluster.
    pub fn epoch_mark(self) -> String {
        self.join_key(&["epoch"])
    }

    /// Key that never exists. Each script call in a Redis Cluster declares it: see `epoch_check.lua`.
    pub(super) fn absent(self) -> String {
        self.join_key(&["none"])
    }

    /// Key that exists while appends of this user are blocked because of the user's erasure.
    pub fn erased(self, user: &str) -> String {
        self.join_key(&["erased:", user])
    }

    /// Returns the partition in the name of a channel of watermark notices, or `None` if it is another channel.
    pub fn of_stored_channel(channel: &str) -> Option<Self> {
        Self::parse(channel.strip_prefix('{')?.strip_suffix("}:stored")?)
    }

    /// Returns the partition of an [`Partition::epoch_mark`], or `None` if it is another key.
    pub(super) fn of_epoch_mark(key: &str) -> Option<Self> {
        Self::parse(key.strip_prefix('{')?.strip_suffix("}:epoch")?)
    }

    /// Parses the number of a partition; returns `None` if there is no partition with this number.
    pub(super) fn parse(digits: &str) -> Option<Self> {
        digits.parse().ok().filter(|p| *p < PARTITIONS).map(Self)
    }
}

/// A set of partitions, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionSet(u64);

impl PartitionSet {
    /// All 64 partitions.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether the set contains the partition.
    pub fn contains(self, partition: Partition) -> bool {
        self.0 & Self::bit(partition) != 0
    }

    /// Whether the set contains no partition.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The partitions of the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Partition> {
        Partition::all().filter(move |partition| self.contains(*partition))
    }

    /// The set with these bits. The lowest bit is that of partition 0.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the set, for atomics.
    pub fn bits(self) -> u64 {
        self.0
    }

    fn bit(partition: Partition) -> u64 {
        1_u64 << partition.0
    }
}

impl BitAnd for PartitionSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for PartitionSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The partitions of the first set that are not in the second.
impl Sub for PartitionSet {
    type Output = Self;
    #[allow(clippy::suspicious_arithmetic_impl, reason = "the difference of two sets of bits")]
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl From<Partition> for PartitionSet {
    fn from(partition: Partition) -> Self {
        Self(Self::bit(partition))
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        Self(partitions.into_iter().fold(0, |bits, partition| bits | Self::bit(partition)))
    }
}

/// Partition and key of the address of a gateway process. `instance` is the random number of the process.
pub fn gateway_address(instance: u64) -> (Partition, String) {
    let id = format!("{instance:016x}");
    let partition = Partition::of_id(&id);
    let key = partition.join_key(&["gateway:", &id]);
    (partition, key)
}

/// The 64-bit FNV-1a hash of a text (Fowler, Noll, Vo; RFC 9923).
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Key of the room's hash, and name of the room's channel.
pub fn room(room: &RoomId) -> String {
    Partition::of(room).join_key(&["room:", room.as_str()])
}

/// Key of the stream with the room's last records.
pub fn tail(room: &RoomId) -> String {
    Partition::of(room).join_key(&["tail:", room.as_str()])
}

/// Key of the read and delivered marks of the room's members.
pub fn marks(room: &RoomId) -> String {
    Partition::of(room).join_key(&["marks:", room.as_str()])
}

/// Key of the cached members of a small room.
pub fn members(room: &RoomId) -> String {
    Partition::of(room).join_key(&["members:", room.as_str()])
}

/// Returns the room id in the name of a room's channel, or `None` if it is another channel.
pub fn room_of_channel(channel: &str) -> Option<&str> {
    untagged(channel)?.strip_prefix("room:")
}

/// Channel on which a replica of persistence announces that it has released partitions.
pub fn leases_channel(layout: Layout) -> String {
    match layout {
        Layout::Single => LEASES.to_owned(),
        Layout::Cluster => COMMON_PARTITION.join_key(&[LEASES]),
    }
}

/// Whether a channel is [`leases_channel`], in any layout.
pub fn is_leases_channel(channel: &str) -> bool {
    untagged(channel).unwrap_or(channel) == LEASES
}

/// The name of a channel or key after the tag of its partition; `None` if it has no such tag. The tag has two digits.
/// So a `}` in an id after the tag is not mistaken for the end of the tag.
pub(crate) fn untagged(name: &str) -> Option<&str> {
    name.strip_prefix('{')?.get(2..)?.strip_prefix("}:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_of_a_room_is_stable() {
        let vectors = [
            ("a", 12),
            ("general", 11),
            ("ubuntu-2004-11-15", 5),
            ("0190163d-8694-739b-aea5-966c26f8ad91", 18),
            ("A:b_c.d-e", 30),
        ];
        for (room, partition) in vectors {
            assert_eq!(Partition::of(&RoomId::parse(room).unwrap()), Partition(partition), "{room}");
        }
    }

    #[test]
    fn partition_of_a_user_is_stable() {
        let vectors =
            [("a", 12), ("alice", 7), ("bob", 20), ("zoë", 28), ("}bob", 19), ("auth0|5f7c8ec7", 39)];
        for (user, partition) in vectors {
            assert_eq!(Partition::of_user(&UserId::parse(user).unwrap()), Partition(partition), "{user}");
        }
    }

    #[test]
    fn set_contains_exactly_its_partitions() {
        let partitions = [Partition(0), Partition(31), Partition(63)];
        let set: PartitionSet = partitions.into_iter().collect();
        assert!(set.iter().eq(partitions));
        assert!(set.contains(Partition(63)) && !set.contains(Partition(62)));
        assert!(PartitionSet::ALL.iter().eq(Partition::all()));
        assert!(PartitionSet::default().is_empty() && PartitionSet::default().iter().count() == 0);
        let (first, last) = (PartitionSet::from(Partition(0)), PartitionSet::from(Partition(63)));
        assert_eq!((set - first - last).iter().collect::<Vec<_>>(), [Partition(31)]);
        assert_eq!(((first | last) & set, first & last), (first | last, PartitionSet::default()));
        assert_eq!(PartitionSet::from_bits(set.bits()), set);
    }

    #[test]
    fn partition_of_a_channel_is_that_of_its_tag() {
        let id = RoomId::parse("general").unwrap();
        assert_eq!(Partition::of_channel(&room(&id)), Partition::of(&id));
        for channel in ["leases", "user:alice", "user:{07}", "{u01}:x", "{64}:x", "{07"] {
            assert_eq!(Partition::of_channel(channel), COMMON_PARTITION, "{channel}");
        }
    }

    #[test]
    fn channel_names_round_trip() {
        let id = RoomId::parse("general").unwrap();
        assert_eq!(room_of_channel(&room(&id)), Some("general"));
        assert_eq!(room_of_channel("{07}:user:bob}:room:general"), None);
        for layout in [Layout::Single, Layout::Cluster] {
            assert!(is_leases_channel(&leases_channel(layout)));
        }
        assert!(!is_leases_channel("{07}:user:leases"));
        assert_eq!(Partition::of_stored_channel(&Partition(7).stored()), Some(Partition(7)));
        assert_eq!(Partition::of_stored_channel("{64}:stored"), None);
        assert_eq!(Partition::of_epoch_mark(&Partition(7).epoch_mark()), Some(Partition(7)));
        assert_eq!(Partition::of_epoch_mark("{07}:stored"), None);
    }
}
