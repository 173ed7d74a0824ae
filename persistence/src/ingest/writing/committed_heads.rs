//! Remembers the heads of rooms that batches of this replica committed, so that the next batch need not read them.
//! Pure.
//!
//! Only a batch moves a head. Each batch requires the token and the epoch of its partitions, and a number that no other
//! batch of this replica has, so within a pass no other transaction moves a head. Only records of an epoch before the
//! claimed one need the bases of later epochs: a seed in an epoch after the claimed one would have moved the partition
//! to that epoch.
//!
//! So a remembered head is used only if it was committed in the same pass, if the room's next record follows it, and if
//! all records of the room are of the claimed epoch. A batch with a wrong head would write nothing, because it moves a
//! head only from the expected value.

use std::collections::{BTreeMap, HashMap};

use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{Record, keys::Partition};

use super::batch_parts::{Batch, BatchPart};
use crate::batch::{HeadAdvance, PartitionAdvance};

/// Maximum number of remembered heads, about 15 MB. All are dropped when it would be exceeded.
const MAX_HEADS: usize = 100_000;

/// The heads that the batches of this replica committed, each with the pass of its batch.
#[derive(Debug, Default)]
pub(super) struct CommittedHeads(HashMap<RoomId, (u64, Seq)>);

impl CommittedHeads {
    /// The remembered heads that a batch may use. `claims` are the claims of its parts, in the same order.
    pub fn usable_for(&self, batch: &Batch, claims: &[PartitionAdvance]) -> HashMap<RoomId, Seq> {
        // A value of None means that the head must be read.
        let mut heads: HashMap<RoomId, Option<Seq>> = HashMap::new();
        for (part, claim) in batch.0.values().zip(claims) {
            for entry in &part.entries {
                let (Some(room), Ok(record)) = (entry.room(), &entry.record) else { continue };
                let in_claimed_epoch = record.epoch == claim.expected.epoch;
                // Skips marks, because they have no seq. Only the first event of each room must follow the remembered
                // head.
                if in_claimed_epoch && (record.seq.0 == 0 || heads.contains_key(&room)) {
                    continue;
                }
                let head = self.head_before(part, &room, record).filter(|_| in_claimed_epoch);
                heads.insert(room, head);
            }
        }
        heads.into_iter().filter_map(|(room, head)| Some((room, head?))).collect()
    }

    /// The head of a room, if it was committed in the pass of this part and `record` follows it.
    fn head_before(&self, part: &BatchPart, room: &RoomId, record: &Record) -> Option<Seq> {
        let (pass, head) = self.0.get(room)?;
        (*pass == part.pass && record.seq == head.next()).then_some(*head)
    }

    /// Remembers the heads that a committed batch moved.
    pub fn remember(&mut self, batch: &Batch, heads: BTreeMap<RoomId, HeadAdvance>) {
        if self.0.len() + heads.len() > MAX_HEADS {
            self.0.clear();
        }
        for (room, advance) in heads {
            if let Some(part) = batch.0.get(&Partition::of(&room)) {
                self.0.insert(room, (part.pass, advance.to));
            }
        }
    }

    /// Forgets all heads. Called after a failed batch, whose transaction may or may not be committed.
    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings_shared::ids::Epoch;
    use tidings_shared::log::IngestId;

    use super::*;
    use crate::batch::{IngestEntry, Lease, PartitionClaim};

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    /// A batch of one pass with records of room `r`, each an epoch and a seq, and its claim in epoch 2.
    fn batch(pass: u64, records: &[(u64, u64)]) -> (Batch, [PartitionAdvance; 1]) {
        let partition = Partition::of(&room());
        let entry = |(epoch, seq): &(u64, u64)| {
            let text = format!("1\u{1f}{epoch}\u{1f}{seq}\u{1f}1000\u{1f}r{}\n{{}}", "\u{1f}".repeat(7));
            let entry = IngestEntry::parse(partition, IngestId { ms: *seq, n: 0 }, Bytes::from(text));
            assert!(entry.record.is_ok(), "{:?}", entry.record);
            entry
        };
        let part =
            BatchPart { pass, after: IngestId::default(), entries: records.iter().map(entry).collect() };
        let lease = Lease { partition, token: 1 };
        let expected = PartitionClaim { lease, epoch: Epoch(2), committed: IngestId::default() };
        let claim = PartitionAdvance { expected, upto: part.upto() };
        (Batch(BTreeMap::from([(partition, part)])), [claim])
    }

    /// The head of room `r` that a batch may use, after a batch of pass 1 moved it to 5.
    fn usable(pass: u64, records: &[(u64, u64)]) -> Option<u64> {
        let mut heads = CommittedHeads::default();
        let advance = HeadAdvance { from: Seq(3), to: Seq(5), last_message_at_ms: None };
        heads.remember(&batch(1, &[(2, 4), (2, 5)]).0, BTreeMap::from([(room(), advance)]));
        let (batch, claims) = batch(pass, records);
        heads.usable_for(&batch, &claims).get(&room()).map(|head| head.0)
    }

    #[test]
    fn head_is_used_when_the_next_record_follows_it() {
        assert_eq!(usable(1, &[(2, 6), (2, 7)]), Some(5));
        assert_eq!(usable(1, &[(2, 0), (2, 6)]), Some(5), "marks have no seq");
    }

    #[test]
    fn head_of_another_pass_is_read() {
        assert_eq!(usable(2, &[(2, 6)]), None);
    }

    #[test]
    fn head_is_read_when_no_record_follows_it() {
        assert_eq!(usable(1, &[(2, 7)]), None, "a hole");
        assert_eq!(usable(1, &[(2, 5), (2, 6)]), None, "stored before");
        assert_eq!(usable(1, &[(2, 0)]), None, "only marks");
    }

    #[test]
    fn head_is_read_when_a_record_is_of_an_earlier_epoch() {
        assert_eq!(usable(1, &[(1, 6), (2, 7)]), None);
        assert_eq!(usable(1, &[(2, 6), (1, 7)]), None);
        assert_eq!(usable(1, &[(2, 6), (1, 0)]), None, "marks are limited by bases");
    }
}
