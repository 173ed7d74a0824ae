//! Parses a room's head and the records after a position, and decides whether a cursor is still valid.

use bytes::Bytes;

use super::record::Record;
use crate::ids::{Cursor, Epoch, Seq};

/// The bases of a room's epochs. Everything at or below the base of an epoch is the same as in the epoch before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bases(pub Vec<(Epoch, Seq)>);

impl Bases {
    /// Number of epochs in a room's hash. Older epochs are merged. For their cursors a gap may then start earlier than
    /// necessary, but never later.
    pub const KEPT: usize = 16;

    /// Parses `epoch:base,…`; malformed items are ignored.
    pub fn decode(text: &str) -> Self {
        let pair = |pair: &str| {
            let (epoch, base) = pair.split_once(':')?;
            Some((Epoch(epoch.parse().ok()?), Seq(base.parse().ok()?)))
        };
        Self(text.split(',').filter_map(pair).collect())
    }

    pub fn encode(&self) -> String {
        self.0.iter().map(|(epoch, base)| format!("{epoch}:{base}")).collect::<Vec<_>>().join(",")
    }

    /// The lowest base of the epochs after `epoch`: positions of `epoch` above this base are not valid any more.
    pub fn limit_of(&self, epoch: Epoch) -> Option<Seq> {
        self.0.iter().filter(|(later, _)| *later > epoch).map(|(_, base)| *base).min()
    }

    /// Merges the oldest pairs, so that at most [`Bases::KEPT`] are left, in order of epochs.
    #[must_use]
    pub fn merged(mut self) -> Self {
        self.0.sort_unstable();
        if self.0.len() > Self::KEPT {
            let recent = self.0.split_off(self.0.len() - (Self::KEPT - 1));
            let epoch = self.0.iter().map(|(epoch, _)| *epoch).max().unwrap_or_default();
            let base = self.0.iter().map(|(_, base)| *base).min().unwrap_or_default();
            self.0 = std::iter::once((epoch, base)).chain(recent).collect();
        }
        self
    }
}

/// The fields of a room's hash.
#[derive(Debug, Clone, Default)]
pub struct RoomHead {
    pub epoch: Epoch,
    pub seq: Seq,
    pub bases: Bases,
    /// `direct`, `private` or `public`.
    pub kind: String,
    pub name: Option<String>,
    pub members: u64,
    pub archived: bool,
}

impl RoomHead {
    /// The position after which the history of a cursor differs from the room's history; `None`: the cursor is valid.
    pub fn gap_after(&self, cursor: &Cursor) -> Option<Seq> {
        match Epoch::parse(&cursor.epoch) {
            Some(epoch) if epoch <= self.epoch => self.gap_after_position(epoch, cursor.seq),
            _ => Some(Seq(0)),
        }
    }

    /// Like [`RoomHead::gap_after`], for a parsed epoch.
    pub fn gap_after_position(&self, epoch: Epoch, seq: Seq) -> Option<Seq> {
        let limit = self.bases.limit_of(epoch).map_or(self.seq, |base| base.min(self.seq));
        (seq > limit).then_some(limit)
    }
}

/// A membership mark: a recent change of a membership. The room's hash contains the change before any cache does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// `None`: the user was removed.
    pub role: Option<String>,
    pub seq: Seq,
}

impl Mark {
    /// Parses `<role> <seq> <ingest id> <seq at which the membership began>`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let role = parts.next().filter(|role| *role != crate::role::REMOVED).map(ToOwned::to_owned);
        Some(Self { role, seq: Seq(parts.next()?.parse().ok()?) })
    }
}

/// A room's head and the records of its tail after a position, read together.
#[derive(Debug, Clone)]
pub struct TailRead {
    pub head: RoomHead,
    /// In order of seq. If the tail is too short, the first records after the position are missing.
    pub records: Vec<Record>,
    /// The marks of the requested users as of `head`, in order; `None`: no recent change.
    pub marks: Vec<Option<Mark>>,
}

impl TailRead {
    /// The records after `after` up to the head, if there is no gap; `None`: the tail begins later.
    pub fn records_after(&self, after: Seq) -> Option<&[Record]> {
        if after >= self.head.seq {
            return Some(&[]);
        }
        let first = self.records.partition_point(|record| record.seq <= after);
        let records = &self.records[first..];
        let dense = records.iter().zip(after.0 + 1..).all(|(record, expected)| record.seq.0 == expected);
        (dense && records.last().is_some_and(|last| last.seq == self.head.seq)).then_some(records)
    }
}

pub(super) type TailEntries = Vec<(String, Vec<Bytes>)>;

/// The fields of the room hash that [`head_of`] reads, in order; marks come after them.
pub(super) const HASH_FIELDS: [&str; 7] = ["seq", "epoch", "bases", "kind", "name", "members", "archived"];

pub(crate) fn mark_field(user: &str) -> String {
    format!("mark:{user}")
}

/// Parses the head, and the marks in the fields after it; `None`: there is no hash.
pub(super) fn head_of(fields: Vec<Option<String>>) -> Option<(RoomHead, Vec<Option<Mark>>)> {
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
        seq: Seq(seq?),
        epoch: Epoch(epoch?),
    };
    Some((head, fields.map(|mark| Mark::parse(&mark?)).collect()))
}

/// The records of a tail. A malformed record ends the list, and the missing seq shows the gap.
pub(super) fn records_of(entries: TailEntries) -> Vec<Record> {
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
        assert_eq!(Mark::parse("guest 7 12-0"), Some(Mark { role: Some("guest".into()), seq: Seq(7) }));
        assert_eq!(Mark::parse("removed 7 12-0"), Some(Mark { role: None, seq: Seq(7) }));
        assert_eq!(Mark::parse("guest"), None);
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
        assert_eq!(merged.0.len(), Bases::KEPT);
        for epoch in 0..=41 {
            let (exact, kept) = (all.limit_of(Epoch(epoch)), merged.limit_of(Epoch(epoch)));
            assert!(kept <= exact || exact.is_none(), "epoch {epoch}: {kept:?} above {exact:?}");
            assert_eq!(kept.is_none(), exact.is_none());
        }
        assert_eq!(Bases::decode(&merged.encode()), merged);
    }
}
