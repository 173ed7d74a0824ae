//! Reports the records of a committed batch as stored: announces membership changes, then writes the watermarks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{AppendError, Session, WatermarkUpdate, keys::Partition};
use tidings_shared::sabotage;

use crate::batch::PartitionAdvance;
use crate::ingest::{Ingest, announcing, partition_backoff::PartitionBackoff};
use crate::writer::outcome::{Exception, WrittenBatch};

/// For each partition a room and a seq that the batch stored. While PostgreSQL has this event, it has lost no earlier
/// commit of the partition either. If an earlier batch already stored all events of a partition in this batch, the
/// last one is the proof, because the process that stored it may have ended before it wrote the watermark and the
/// proof.
pub(super) fn proofs_of(written: &mut WrittenBatch) -> BTreeMap<Partition, (RoomId, Seq)> {
    let mut proofs = std::mem::take(&mut written.stored_before);
    if sabotage::is_removed("events that are read again are a proof") {
        proofs.clear();
    }
    // One room of each partition is enough, so the others are not cloned.
    let by_partition: BTreeMap<_, _> =
        written.heads.iter().map(|(room, advance)| (Partition::of(room), (room, advance.to))).collect();
    proofs.extend(by_partition.into_iter().map(|(partition, (room, seq))| (partition, (room.clone(), seq))));
    proofs
}

/// Announces membership changes, then writes each partition's watermark to Redis. A partition whose watermark was not
/// written is settled again; then the records above its watermark are read and reported again. The shards of a Redis
/// Cluster are asked concurrently, each with a deadline.
pub(super) async fn publish_stored(
    ingest: &Ingest,
    backoff: &mut PartitionBackoff,
    claims: &[PartitionAdvance],
    mut proofs: BTreeMap<Partition, (RoomId, Seq)>,
    written: WrittenBatch,
) {
    let mut by_partition: BTreeMap<Partition, Vec<(String, String)>> = BTreeMap::new();
    for Exception { room, seq, outcome } in written.exceptions {
        let partition = Partition::of(&room);
        by_partition.entry(partition).or_default().push((format!("{room}\u{1f}{seq}"), outcome));
        ingest.wake_announcer.notify_one();
    }
    let partition_of = |claim: &&PartitionAdvance| claim.expected.lease.partition;
    let by_session = ingest.log.group_by_current_session(claims.iter().collect(), partition_of);
    let unannounced = announcing::announce_memberships(ingest, &written.memberships).await;
    let publishing = by_session.into_iter().map(|(session, claims)| {
        let mut updates = Vec::with_capacity(claims.len());
        for claim in claims {
            let (partition, watermark) = (partition_of(&claim), claim.upto);
            let must_wait = unannounced.contains(&partition)
                && !sabotage::is_removed("the watermark waits for announcements");
            if session.epoch == claim.expected.epoch && !must_wait {
                let exceptions = by_partition.remove(&partition).unwrap_or_default();
                let proof = proofs.remove(&partition);
                updates.push(WatermarkUpdate { partition, watermark, proof, exceptions });
            }
        }
        publish_in_session(ingest, session, updates)
    });
    let publishing: Vec<_> = publishing.collect();
    let results: BTreeMap<Partition, _> = join_all(publishing).await.into_iter().flatten().collect();
    for partition in claims.iter().map(|claim| claim.expected.lease.partition) {
        let result = results.get(&partition);
        if matches!(result, Some(Ok(true))) || sabotage::is_removed("unwritten watermark settles again") {
            backoff.reset(partition);
        } else {
            tracing::info!(
                partition = partition.0,
                ?result,
                "the watermark was not accepted: settling again"
            );
            let pause = backoff.next_pause(partition);
            ingest.owned().unsettle(partition, Instant::now(), pause);
        }
    }
}

/// Writes the watermarks of partitions of one session. A partition without a result got no answer in time.
async fn publish_in_session(
    ingest: &Ingest,
    session: Arc<Session>,
    updates: Vec<WatermarkUpdate>,
) -> Vec<(Partition, Result<bool, AppendError>)> {
    let answers = ingest.within_shard_deadline(&session, ingest.log.publish_stored(&session, &updates)).await;
    updates.iter().map(|update| update.partition).zip(answers.unwrap_or_default()).collect()
}
