//! Fault injection for tests (`tidings_shared::sabotage`). Each fault breaks one guarantee by changing data between
//! this node and Redis, outside the code that keeps the guarantee. Without a fault, these functions change nothing.

use bytes::Bytes;
use tidings_shared::{
    ids::{ClientId, Seq},
    log::{Accepted, Bases, Entry, TailRead},
    sabotage::{Sabotage, is_active},
};

/// Positions of fields in the header of a record.
const SEQ: usize = 2;
const SENDER: usize = 6;
const VISIBILITY: usize = 9;
/// Some faults change only the records whose seq is a multiple of this number.
const ALTER_EVERY: u64 = 50;

/// Passes a published record to `publish`. With an active fault, some records are changed or passed twice.
pub(super) fn publish(payload: Bytes, mut publish: impl FnMut(Bytes)) {
    if is_active(Sabotage::Complete) {
        // Nobody may see the changed record, but the hub's position moves over the record, so receivers miss an event.
        let hidden = altered(&payload, ALTER_EVERY, &[(SENDER, ""), (VISIBILITY, "u=")]);
        return publish(hidden.unwrap_or(payload));
    }
    if is_active(Sabotage::Private) {
        let public = altered(&payload, 1, &[(VISIBILITY, "")]);
        return publish(public.unwrap_or(payload));
    }
    if is_active(Sabotage::Order) {
        // A record with seq 0 is live-only. The hub delivers live-only records without a comparison of positions, so
        // receivers get the event twice.
        let again = altered(&payload, ALTER_EVERY, &[(SEQ, "0")]);
        publish(payload);
        return again.into_iter().for_each(publish);
    }
    publish(payload);
}

/// Returns a copy of a record with changed header fields; `None` if its seq is 0 or not a multiple of `every`.
fn altered(payload: &[u8], every: u64, changes: &[(usize, &str)]) -> Option<Bytes> {
    let (header, json) = str::from_utf8(payload).ok()?.split_once('\n')?;
    let mut fields: Vec<&str> = header.split('\u{1f}').collect();
    let seq: u64 = fields.get(SEQ)?.parse().ok()?;
    if seq == 0 || !seq.is_multiple_of(every) {
        return None;
    }
    for (position, value) in changes {
        *fields.get_mut(*position)? = value;
    }
    Some(format!("{}\n{json}", fields.join("\u{1f}")).into())
}

/// With the fault `Once`, gives an event that may be a repetition another client id, so that it is appended again.
pub(super) fn entry(entry: &mut Entry<'_>) {
    if is_active(Sabotage::Once) && !entry.first_attempt {
        let again = format!("again-{}", entry.id.as_deref().unwrap_or_default());
        entry.client_id = ClientId::parse(&again).ok();
    }
}

/// With the fault `Stored`, makes the event seem stored, so that it is acknowledged too early.
pub(super) fn accepted(accepted: &mut Accepted) {
    if is_active(Sabotage::Stored) {
        // The gateway treats an event without an ingest id as stored.
        accepted.ingest = None;
    }
}

/// Changes the answer to a read of a room after the seq `after`.
pub(super) fn read(read: &mut TailRead, after: Option<Seq>) {
    if is_active(Sabotage::Epoch) {
        // Without bases and with a head at or above `after`, every cursor of an earlier epoch seems valid.
        read.head.bases = Bases::default();
        read.head.seq = read.head.seq.max(after.unwrap_or_default());
    }
}
