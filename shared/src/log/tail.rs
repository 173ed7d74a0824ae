//! Parses a room's head and tail as Redis holds them, and decides whether a client's cursor (epoch and seq) is valid.

use bytes::Bytes;

use super::record::Record;
use crate::ids::{Cursor, Epoch, Seq};

/// The epochs of a room, each with its base: the seq up to which the epoch has the same events as the earlier epochs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bases(pub Vec<(Epoch, Seq)>);

impl Bases {
    /// Maximum number of bases in a room's hash. Older bases are merged. Then a client with a cursor of a merged epoch
    /// may read more events over HTTP than necessary, but never too few.
    pub const MAX_BASES: usize = 16;

    /// Parses `epoch:base,…`. Malformed items are ignored.
    pub fn decode(text: &str) -> Self {
        let pair = |pair: &str| {
            let (epoch, base) = pair.split_once(':')?;
            Some((Epoch(epoch.parse().ok()?), Seq(base.parse().ok()?)))
        };
        Self(text.split(',').filter_map(pair).collect())
    }

    /// Formats the bases as [`Bases::decode`] reads them.
    pub fn encode(&self) -> String {
        self.0.iter().map(|(epoch, base)| format!("{epoch}:{base}")).collect::<Vec<_>>().join(",")
    }

    /// The lowest base of the epochs after `epoch`. A cursor of `epoch` with a seq above this base is not valid.
    /// Returns `None` if there is no later epoch.
    pub fn lowest_base_after(&self, epoch: Epoch) -> Option<Seq> {
        self.0.iter().filter(|(later, _)| *later > epoch).map(|(_, base)| *base).min()
    }

    /// Returns the bases sorted by epoch, with the oldest ones merged into one, so that at most [`Bases::MAX_BASES`]
    /// are left.
    #[must_use]
    pub fn merged(mut self) -> Self {
        self.0.sort_unstable();
        if self.0.len() > Self::MAX_BASES {
            let recent = self.0.split_off(self.0.len() - (Self::MAX_BASES - 1));
            let epoch = self.0.iter().map(|(epoch, _)| *epoch).max().unwrap_or_default();
            let base = self.0.iter().map(|(_, base)| *base).min().unwrap_or_default();
            self.0 = std::iter::once((epoch, base)).chain(recent).collect();
        }
        self
    }
}

/// The head of a room, with the other fields of its hash in Redis that a join returns.
#[derive(Debug, Clone, Default)]
pub struct RoomHead {
    pub epoch: Epoch,
    /// The last seq of the room.
    pub seq: Seq,
    pub bases: Bases,
    /// `direct`, `private` or `public`.
    pub kind: String,
    pub name: Option<String>,
    pub members: u64,
    pub archived: bool,
    /// Minimum seconds between two messages of a member, which a seed writes into the hash; 0 = no slow mode. Always 0
    /// in a head that was read from Redis.
    pub slow_mode_s: u16,
}

impl RoomHead {
    /// Returns `None` if the cursor is valid. Otherwise returns the last seq up to which the client certainly has the
    /// events of the room.
    pub fn gap_after(&self, cursor: &Cursor) -> Option<Seq> {
        match Epoch::parse(&cursor.epoch) {
            Some(epoch) if epoch <= self.epoch => self.gap_after_position(epoch, cursor.seq),
            _ => Some(Seq(0)),
        }
    }

    /// The same as [`RoomHead::gap_after`], for a cursor whose epoch is already parsed and not above the room's epoch.
    pub fn gap_after_position(&self, epoch: Epoch, seq: Seq) -> Option<Seq> {
        let limit = self.bases.lowest_base_after(epoch).map_or(self.seq, |base| base.min(self.seq));
        (seq > limit).then_some(limit)
    }
}

/// A membership mark: a user's latest role or removal, in the room's hash in Redis. The append script writes the mark
/// with the event, before PostgreSQL stores the change. So the mark is never older than a cached membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipMark {
    /// The new role, or `None` if the user was removed.
    pub role: Option<String>,
    /// The seq of the event that changed the membership.
    pub seq: Seq,
}

impl MembershipMark {
    /// Parses `<role> <seq> <ingest id> <seq at which the membership began>`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let role = parts.next().filter(|role| *role != crate::role::REMOVED).map(ToOwned::to_owned);
        Some(Self { role, seq: Seq(parts.next()?.parse().ok()?) })
    }
}

/// The part of a tail that is read.
#[derive(Debug, Clone, Copy)]
pub struct TailPart {
    /// The records after this seq are read.
    pub after: Seq,
    /// Maximum number of records; `None` for all.
    pub max_records: Option<usize>,
}

impl TailPart {
    /// All records after a seq.
    pub fn all_after(after: Seq) -> Self {
        Self { after, max_records: None }
    }
}

/// A room's head, membership marks, and the records of its tail after a seq, all read together.
#[derive(Debug, Clone)]
pub struct TailRead {
    pub head: RoomHead,
    /// The records in order of seq. If the tail begins later than the requested seq, the first ones are missing.
    pub records: Vec<Record>,
    /// The membership marks of the requested users as of `head`, in the same order, or `None` if the hash has none.
    pub marks: Vec<Option<MembershipMark>>,
}

impl TailRead {
    /// All records after the seq `after` up to the head, or `None` if one of them is missing in the tail.
    pub fn records_after(&self, after: Seq) -> Option<&[Record]> {
        let records = self.next_records(after)?;
        let last = records.last().map_or(after, |last| last.seq);
        (last >= self.head.seq).then_some(records)
    }

    /// The records after the seq `after` up to the first one that is missing or was not read, or `None` if the record
    /// directly after `after` is missing.
    pub fn next_records(&self, after: Seq) -> Option<&[Record]> {
        if after >= self.head.seq {
            return Some(&[]);
        }
        let first = self.records.partition_point(|record| record.seq <= after);
        let records = &self.records[first..];
        let dense =
            records.iter().zip(after.0 + 1..).take_while(|(record, next)| record.seq.0 == *next).count();
        (dense > 0).then(|| &records[..dense])
    }
}

/// The answer of Redis to `XRANGE` of a tail: for each entry the id and its fields, the record last.
pub(super) type TailEntries = Vec<(String, Vec<Bytes>)>;

/// The fields of the room's hash that [`parse_head`] expects, in this order. The fields of membership marks follow
/// them.
pub(super) const HEAD_FIELDS: [&str; 7] = ["seq", "epoch", "bases", "kind", "name", "members", "archived"];

/// The field of the room's hash that holds the membership mark of a user.
pub(crate) fn mark_field(user: &str) -> String {
    format!("mark:{user}")
}

/// Parses the head, and the membership marks in the fields after the head; returns `None` if there is no hash.
pub(super) fn parse_head(fields: Vec<Option<String>>) -> Option<(RoomHead, Vec<Option<MembershipMark>>)> {
    let mut fields = fields.into_iter();
    let mut next = || fields.next().flatten();
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
    let (seq, epoch) = (number(next()), number(next()));
    let head = RoomHead {
        bases: Bases::decode(&next().unwrap_or_default()),
        kind: next().unwrap_or_default(),
        name: next().filter(|name| !name.is_empty()),
        members: number(next()).unwrap_or_default(),
        archived: next().as_deref() == Some("1"),
        slow_mode_s: 0,
        seq: Seq(seq?),
        epoch: Epoch(epoch?),
    };
    Some((head, fields.map(|mark| MembershipMark::parse(&mark?)).collect()))
}

/// Parses the records of a tail. A malformed record ends the list, and the caller sees the missing seqs.
pub(super) fn parse_records(entries: TailEntries) -> Vec<Record> {
    entries.into_iter().map_while(|(_, mut fields)| Record::parse(fields.pop()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(epoch: u64, seq: u64, bases: &str) -> RoomHead {
        RoomHead { epoch: Epoch(epoch), seq: Seq(seq), bases: Bases::decode(bases), ..RoomHead::default() }
    }

    fn cursor(epoch: &str, seq: u64) -> Cursor {
        Cursor { epoch: epoch.into(), seq: Seq(seq) }
    }

    #[test]
    fn mark_contains_role_and_seq() {
        assert_eq!(
            MembershipMark::parse("guest 7 12-0"),
            Some(MembershipMark { role: Some("guest".into()), seq: Seq(7) })
        );
        assert_eq!(MembershipMark::parse("removed 7 12-0"), Some(MembershipMark { role: None, seq: Seq(7) }));
        assert_eq!(MembershipMark::parse("guest"), None);
    }

    #[test]
    fn cursor_is_valid_up_to_the_lowest_base_of_later_epochs() {
        let head = head(5, 100, "1:0,3:40,5:90");
        assert_eq!(head.gap_after(&cursor("1", 40)), None);
        assert_eq!(head.gap_after(&cursor("1", 41)), Some(Seq(40)));
        assert_eq!(head.gap_after(&cursor("3", 90)), None);
        assert_eq!(head.gap_after(&cursor("3", 91)), Some(Seq(90)));
        assert_eq!(head.gap_after(&cursor("4", 91)), Some(Seq(90)));
        assert_eq!(head.gap_after(&cursor("5", 100)), None);
        let lower_later = self::head(5, 100, "2:80,5:30");
        assert_eq!(lower_later.gap_after(&cursor("1", 50)), Some(Seq(30)));
    }

    #[test]
    fn cursor_above_head_or_of_unknown_epoch_is_a_gap() {
        let head = head(5, 100, "1:0");
        assert_eq!(head.gap_after(&cursor("5", 101)), Some(Seq(100)));
        assert_eq!(head.gap_after(&cursor("6", 3)), Some(Seq(0)));
        assert_eq!(head.gap_after(&cursor("nonsense", 3)), Some(Seq(0)));
    }

    #[test]
    fn merged_bases_never_accept_an_invalid_cursor() {
        let all = Bases((1..=40).map(|e| (Epoch(e), Seq(e * 7 % 31 + e))).collect());
        let merged = all.clone().merged();
        assert_eq!(merged.0.len(), Bases::MAX_BASES);
        for epoch in 0..=41 {
            let (exact, kept) = (all.lowest_base_after(Epoch(epoch)), merged.lowest_base_after(Epoch(epoch)));
            assert!(kept <= exact || exact.is_none(), "epoch {epoch}: {kept:?} above {exact:?}");
            assert_eq!(kept.is_none(), exact.is_none());
        }
        assert_eq!(Bases::decode(&merged.encode()), merged);
    }
}
