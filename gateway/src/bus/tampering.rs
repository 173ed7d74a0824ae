//! The seams at which builds for tests break promises (`tidings_shared::sabotage`): between this node and Redis, outside
//! the code that keeps the promises. In other builds these functions change nothing and cost nothing.

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
/// Each 50th record of a room is changed.
const SOME: u64 = 50;

/// Passes on a published message, changed, or twice.
pub(super) fn publish(payload: Bytes, publish: impl Fn(Bytes)) {
    if is_active(Sabotage::Complete) {
        // The hub moves its position over a record that nobody may see.
        let hidden = altered(&payload, SOME, &[(SENDER, ""), (VISIBILITY, "u=")]);
        return publish(hidden.unwrap_or(payload));
    }
    if is_active(Sabotage::Private) {
        let public = altered(&payload, 1, &[(VISIBILITY, "")]);
        return publish(public.unwrap_or(payload));
    }
    if is_active(Sabotage::Order) {
        // The hub compares no position with a live-only record.
        let again = altered(&payload, SOME, &[(SEQ, "0")]);
        publish(payload);
        return again.into_iter().for_each(publish);
    }
    publish(payload);
}

/// A copy of a record with other header fields. `None`: it is no durable record, or not one of `every`.
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

pub(super) fn entry(entry: &mut Entry<'_>) {
    if is_active(Sabotage::Once) && !entry.first_attempt {
        let again = format!("again-{}", entry.id.as_deref().unwrap_or_default());
        entry.client_id = ClientId::parse(&again).ok();
    }
}

pub(super) fn accepted(accepted: &mut Accepted) {
    if is_active(Sabotage::Stored) {
        // An event without an ingest id is known to be stored.
        accepted.ingest = None;
    }
}

/// Changes a read of a room after a position.
pub(super) fn read(read: &mut TailRead, after: Option<Seq>) {
    if is_active(Sabotage::Epoch) {
        // Nothing says where the history of an earlier epoch ends, and no position is above the head.
        read.head.bases = Bases::default();
        read.head.seq = read.head.seq.max(after.unwrap_or_default());
    }
}
