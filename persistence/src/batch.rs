//! Decides which rows are written for the records of a batch. Pure, no I/O.
//! The input is the records, in the order of their partitions' streams, and the stored state of their rooms. The output
//! is the rows to insert and the new heads of the rooms. Keeps the prefix invariant: a head only moves to the next seq,
//! and a record that would leave a gap is a [`Hole`].

mod activity;
mod change;
pub mod folding;
mod members;
mod room_update;
mod row;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq},
    log::{
        Bases, IngestId, Record,
        keys::Partition,
        record::{RecordError, TYPE_MARKS},
    },
    sabotage,
};

pub use activity::RoomActivity;
pub use change::{Action, ChangeRow};
pub use members::{
    FinalMembership, MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED, MemberChanges, MembershipChange,
    MembershipChangeKind,
};
pub use room_update::{ROOM_UPDATED, RoomUpdate};
pub use row::{EventRow, MESSAGE_NEW, MESSAGE_VOID, MessageRow, VoidReason};

/// An entry of an ingest stream, with its parsed record.
#[derive(Debug, Clone)]
pub struct IngestEntry {
    pub partition: Partition,
    pub id: IngestId,
    /// The bytes of the record in the stream.
    pub raw: Bytes,
    pub record: Result<Record, RecordError>,
}

impl IngestEntry {
    #[must_use]
    pub fn parse(partition: Partition, id: IngestId, raw: Bytes) -> Self {
        Self { partition, id, record: Record::parse(raw.clone()), raw }
    }

    /// The room that the record names; None if the room belongs to another partition or the record cannot be parsed.
    #[must_use]
    pub fn room(&self) -> Option<RoomId> {
        let room = RoomId::parse(self.record.as_ref().ok()?.room()).ok()?;
        (Partition::of(&room) == self.partition).then_some(room)
    }
}

/// The right of this replica to write a partition for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub partition: Partition,
    /// The fencing token. It grows with each change of owner, and writes with an older token are refused.
    pub token: i64,
}

/// The lease and the epoch that a batch must find in the row of its partition. If the row differs, the batch is not
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionClaim {
    pub lease: Lease,
    pub epoch: Epoch,
    /// The stream position after which the batch begins: the end of the previous batch, or the watermark at which
    /// reading began.
    pub committed: IngestId,
}

/// The move of a partition's stream position by a batch: the claim that the batch requires, and the position after it.
#[derive(Debug, Clone, Copy)]
pub struct PartitionAdvance {
    pub expected: PartitionClaim,
    pub upto: IngestId,
}

/// The state of a room in PostgreSQL before the batch.
#[derive(Debug, Clone, Default)]
pub struct StoredRoom {
    pub head: Seq,
    /// The room's bases in all epochs after the earliest epoch among its records in the batch. May hold other bases
    /// too.
    pub bases: Bases,
}

/// The move of a room's head by a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadAdvance {
    pub from: Seq,
    pub to: Seq,
    /// When the room's last message in the batch was appended, ms since 1970. Messages that become voids do not count.
    pub last_message_at_ms: Option<i64>,
}

/// The highest read and delivered marks of one user in one room among the records of a batch; 0 if there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub read: Seq,
    pub read_at_ms: i64,
    pub delivered: Seq,
    pub delivered_at_ms: i64,
}

/// A rejected record, which becomes a dead letter.
#[derive(Debug, Clone)]
pub struct RejectedRecord<'a> {
    pub entry: &'a IngestEntry,
    /// The room and seq of the record; None if the record has no seq, or no room of its partition.
    pub at: Option<(RoomId, Seq)>,
    /// Why the record is rejected. Quotes nothing from the record, because the reason is logged for operators.
    pub reason: Cow<'static, str>,
}

/// A record whose seq is not the next one after the room's head. Must never occur.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    pub partition: Partition,
    pub room: RoomId,
    pub head: Seq,
    pub found: Seq,
}

/// What a batch writes.
#[derive(Debug, Default)]
pub struct BatchPlan<'a> {
    pub messages: Vec<MessageRow<'a>>,
    /// All events except messages, and the voids of rejected records.
    pub events: Vec<EventRow>,
    /// The events that change a message, in the order of their rooms' logs.
    pub changes: Vec<ChangeRow<'a>>,
    pub members: MemberChanges,
    pub updates: BTreeMap<RoomId, RoomUpdate>,
    /// The voids that the batch's `message:void` records announce.
    pub announced_voids: Vec<(RoomId, Seq)>,
    pub marks: BTreeMap<(RoomId, String), Marks>,
    pub heads: BTreeMap<RoomId, HeadAdvance>,
    /// Records that an earlier batch stored: their seq is at or below the stored head.
    pub already_stored: Vec<(&'a Record, RoomId)>,
    pub rejects: Vec<RejectedRecord<'a>>,
    /// Number of records that are not written because their seq is above the base of a later epoch.
    pub left_out: usize,
}

impl BatchPlan<'_> {
    /// Sets the time of each room's last message. Ignores the messages at the indices `void`, which become voids.
    pub fn set_last_message_times(&mut self, void: &[usize]) {
        for advance in self.heads.values_mut() {
            advance.last_message_at_ms = None;
        }
        let void: HashSet<usize> = void.iter().copied().collect();
        for (_, message) in self.messages.iter().enumerate().filter(|(index, _)| !void.contains(index)) {
            if let Some(advance) = self.heads.get_mut(&message.room) {
                advance.last_message_at_ms = advance.last_message_at_ms.max(Some(message.record.at_ms));
            }
        }
    }
}

/// Decides what a batch writes. `rooms` holds every existing room of the batch. If `poison` is set, each record that
/// would be written is rejected, with `poison` as the reason. Fails at the first [`Hole`]; then the caller must write
/// nothing of that partition.
pub fn plan_records<'a>(
    entries: &'a [IngestEntry],
    rooms: &HashMap<RoomId, StoredRoom>,
    poison: Option<&str>,
) -> Result<BatchPlan<'a>, Hole> {
    let mut plan = BatchPlan::default();
    for entry in entries {
        let record = match &entry.record {
            Ok(record) => record,
            Err(error) => {
                plan.rejects.push(RejectedRecord { entry, at: None, reason: error.0.into() });
                continue;
            }
        };
        let Some(room) = entry.room() else {
            let reason = "names no room of its partition".into();
            plan.rejects.push(RejectedRecord { entry, at: None, reason });
            continue;
        };
        let Some(stored) = rooms.get(&room) else {
            let at = (record.seq.0 > 0).then_some((room, record.seq));
            plan.rejects.push(RejectedRecord { entry, at, reason: "no such room".into() });
            continue;
        };
        let limit = stored.bases.lowest_base_after(record.epoch);
        if record.kind() == TYPE_MARKS {
            let merged = match poison {
                Some(poison) => Err(Cow::Owned(poison.to_owned())),
                None => merge_marks(&mut plan.marks, &room, record, limit).map_err(Cow::Borrowed),
            };
            if let Err(reason) = merged {
                plan.rejects.push(RejectedRecord { entry, at: None, reason });
            }
            continue;
        }
        if record.seq.0 == 0 {
            plan.rejects.push(RejectedRecord { entry, at: None, reason: "an event without a seq".into() });
            continue;
        }
        if limit.is_some_and(|limit| record.seq > limit) {
            plan.left_out += 1;
            continue;
        }
        let head = plan.heads.get(&room).map_or(stored.head, |advance| advance.to);
        if record.seq <= head {
            plan.members.merge_stored(entry.partition, &room, record, &mut plan.marks);
            plan.already_stored.push((record, room));
            continue;
        }
        if record.seq != head.next() && !sabotage::is_removed("a record follows the head") {
            return Err(Hole { partition: entry.partition, room, head, found: record.seq });
        }
        add_row(&mut plan, entry, record, &room, poison);
        let advance =
            plan.heads.entry(room).or_insert(HeadAdvance { from: head, to: head, last_message_at_ms: None });
        advance.to = record.seq;
    }
    plan.set_last_message_times(&[]);
    for ((room, _), marks) in &mut plan.marks {
        let stored = rooms.get(room).map(|room| room.head).unwrap_or_default();
        let head = plan.heads.get(room).map_or(stored, |advance| advance.to);
        marks.read = marks.read.min(head);
        marks.delivered = marks.delivered.min(head);
    }
    Ok(plan)
}

/// Adds the row of a record that follows the room's head: the row of the event, or of a void if the record is rejected.
fn add_row<'a>(
    plan: &mut BatchPlan<'a>,
    entry: &'a IngestEntry,
    record: &'a Record,
    room: &RoomId,
    poison: Option<&str>,
) {
    let outcome = match poison {
        Some(reason) => Err(Cow::Owned(reason.to_owned())),
        None if record.kind() == row::MESSAGE_NEW => MessageRow::from_record(room, record, entry.id)
            .map(|message| plan.messages.push(message))
            .map_err(Cow::Borrowed),
        None => EventRow::from_record(room, record)
            .and_then(|event| {
                plan.members.merge(entry.partition, room, record, &mut plan.marks)?;
                room_update::merge(&mut plan.updates, room, record)?;
                plan.changes.extend(ChangeRow::from_record(room, record, plan.events.len())?);
                if event.kind == row::MESSAGE_VOID
                    && let Some(target) = event.target
                {
                    plan.announced_voids.push((room.clone(), target));
                }
                plan.events.push(event);
                Ok(())
            })
            .map_err(Cow::Borrowed),
    };
    if let Err(reason) = outcome {
        plan.events.push(EventRow::void(room, record, None));
        plan.rejects.push(RejectedRecord { entry, at: Some((room.clone(), record.seq)), reason });
    }
}

fn merge_marks(
    all: &mut BTreeMap<(RoomId, String), Marks>,
    room: &RoomId,
    record: &Record,
    limit: Option<Seq>,
) -> Result<(), &'static str> {
    let marks: Vec<(&str, String, u64)> =
        serde_json::from_slice(record.json()).map_err(|_| "not a list of marks")?;
    if marks.iter().any(|(kind, ..)| !matches!(*kind, "read" | "delivered")) {
        return Err("a mark of an unknown kind");
    }
    for (kind, user, seq) in marks {
        let seq = limit.map_or(Seq(seq), |limit| limit.min(Seq(seq)));
        let marks = all.entry((room.clone(), user)).or_default();
        let (at, at_ms) = match kind {
            "read" => (&mut marks.read, &mut marks.read_at_ms),
            _ => (&mut marks.delivered, &mut marks.delivered_at_ms),
        };
        if seq > *at {
            (*at, *at_ms) = (seq, record.at_ms);
        }
    }
    Ok(())
}
