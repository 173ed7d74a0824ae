//! Fault injection for tests (`tidings_shared::sabotage`). Each fault breaks one guarantee by changing data between
//! this node and Redis, outside the code that keeps the guarantee. Without a fault, these functions change nothing.

use bytes::Bytes;
use tidings_shared::{
    ids::{ClientId, Seq},
    log::{Accepted, AppendError, Bases, Entry, Log, TailRead},
    sabotage::{Sabotage, is_active, is_removed},
};

/// Positions of fields in the header of a record.
const SEQ_FIELD: usize = 2;
const SENDER_FIELD: usize = 6;
const VISIBILITY_FIELD: usize = 9;
/// Some faults change only the records whose seq is a multiple of this number.
const ALTER_EVERY: u64 = 50;

/// Passes a published record to `publish`. With some faults, changes the record or passes it twice.
pub(super) fn alter_published(payload: Bytes, mut publish: impl FnMut(Bytes)) {
    if is_active(Sabotage::Complete) {
        // Nobody may see the changed record, but the hub's position moves over the record, so receivers miss an event.
        let hidden = altered_copy(&payload, ALTER_EVERY, &[(SENDER_FIELD, ""), (VISIBILITY_FIELD, "u=")]);
        return publish(hidden.unwrap_or(payload));
    }
    if is_active(Sabotage::Private) {
        let public = altered_copy(&payload, 1, &[(VISIBILITY_FIELD, "")]);
        return publish(public.unwrap_or(payload));
    }
    if is_active(Sabotage::Order) {
        // A record with seq 0 is live-only. The hub delivers live-only records without a comparison of positions, so
        // receivers get the event twice.
        let again = altered_copy(&payload, ALTER_EVERY, &[(SEQ_FIELD, "0")]);
        publish(payload);
        return again.into_iter().for_each(publish);
    }
    publish(payload);
}

/// Returns a copy of a record with changed header fields; `None` if its seq is 0 or not a multiple of `every`.
fn altered_copy(payload: &[u8], every: u64, changes: &[(usize, &str)]) -> Option<Bytes> {
    let (header, json) = str::from_utf8(payload).ok()?.split_once('\n')?;
    let mut fields: Vec<&str> = header.split('\u{1f}').collect();
    let seq: u64 = fields.get(SEQ_FIELD)?.parse().ok()?;
    if seq == 0 || !seq.is_multiple_of(every) {
        return None;
    }
    for (position, value) in changes {
        *fields.get_mut(*position)? = value;
    }
    Some(format!("{}\n{json}", fields.join("\u{1f}")).into())
}

/// With the fault `Once`, changes the client id of an event that may be a repetition, so that it is appended again.
pub(super) fn alter_entry(entry: &mut Entry<'_>) {
    if is_active(Sabotage::Once) && !entry.first_attempt {
        let again = format!("again-{}", entry.id.as_deref().unwrap_or_default());
        entry.client_id = ClientId::parse(&again).ok();
    }
}

/// Appends all messages concurrently, so a message that needs no look-up may overtake an earlier message that needs
/// one.
pub(super) async fn append_concurrently(
    log: &Log,
    entries: &[Entry<'_>],
) -> Vec<Result<Accepted, AppendError>> {
    futures_util::future::join_all(entries.iter().map(|entry| log.append(entry))).await
}

/// With the fault `Stored`, makes the event seem stored, so that it is acknowledged too early.
pub(super) fn alter_accepted(accepted: &mut Accepted) {
    if is_active(Sabotage::Stored) {
        // The gateway treats an event without an ingest id as stored.
        accepted.ingest = None;
    }
}

/// With some faults, changes the result of a read of a room after the seq `after`.
pub(super) fn alter_read(read: &mut TailRead, after: Option<Seq>) {
    if is_active(Sabotage::Epoch) {
        // Without bases and with a head at or above `after`, every cursor of an earlier epoch seems valid.
        read.head.bases = Bases::default();
        read.head.seq = read.head.seq.max(after.unwrap_or_default());
    }
    if is_removed("heads come with membership marks") {
        read.marks.fill(None);
    }
    if is_removed("cursor is limited by every later base") {
        // With bases that never fall, only the base of the first later epoch limits a cursor.
        let mut highest = Seq(0);
        for (_, base) in &mut read.head.bases.0 {
            highest = highest.max(*base);
            *base = highest;
        }
    }
}
