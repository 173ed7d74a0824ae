//! Reports the records of a committed batch as stored: announces membership changes, then writes the watermarks.

use std::collections::BTreeMap;
use std::time::Instant;

use tidings_shared::log::{WatermarkUpdate, keys::Partition};
use tidings_shared::sabotage;

use crate::batch::PartitionAdvance;
use crate::ingest::{Ingest, announcing, partition_backoff::PartitionBackoff};
use crate::writer::outcome::{Exception, WrittenBatch};

/// Announces membership changes, then writes each partition's watermark to Redis. A partition whose watermark Redis
/// refused is settled again; then the records above its watermark are read and reported again.
pub(super) async fn publish_stored(
    ingest: &Ingest,
    backoff: &mut PartitionBackoff,
    claims: &[PartitionAdvance],
    written: WrittenBatch,
) {
    let mut by_partition: BTreeMap<Partition, Vec<(String, String)>> = BTreeMap::new();
    for Exception { room, seq, outcome } in written.exceptions {
        let partition = Partition::of(&room);
        by_partition.entry(partition).or_default().push((format!("{room}\u{1f}{seq}"), outcome));
        ingest.wake_announcer.notify_one();
    }
    let partition_of = |claim: &&PartitionAdvance| claim.expected.lease.partition;
    let by_session = ingest.log.by_session(claims.iter().collect(), partition_of).await;
    let unannounced = announcing::announce_memberships(ingest, &written.memberships).await;
    let mut results: Vec<(Partition, Result<bool, _>)> = Vec::with_capacity(claims.len());
    if by_session.is_err() {
        results.extend(claims.iter().map(|claim| (partition_of(&claim), Ok(false))));
    }
    for (session, claims) in by_session.unwrap_or_default() {
        let mut updates = Vec::with_capacity(claims.len());
        for claim in claims {
            let (partition, watermark) = (partition_of(&claim), claim.upto);
            let must_wait = unannounced.contains(&partition)
                && !sabotage::is_removed("the watermark waits for announcements");
            if session.epoch == claim.expected.epoch && !must_wait {
                let exceptions = by_partition.remove(&partition).unwrap_or_default();
                updates.push(WatermarkUpdate { partition, watermark, exceptions });
            } else {
                results.push((partition, Ok(false)));
            }
        }
        let answers = ingest.log.publish_stored(&session, &updates).await;
        results.extend(updates.iter().map(|update| update.partition).zip(answers));
    }
    for (partition, result) in results {
        if matches!(result, Ok(true)) || sabotage::is_removed("unwritten watermark settles again") {
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
