//! What Redis knows to be committed in PostgreSQL, for each partition: the watermark and a proof, which is a stored
//! event of the last batch. PostgreSQL went back if its head of that room is lower, or if it does not know the
//! watermark's epoch. Then the partition is closed: the watermark gets an epoch that nobody opened, so no script moves it
//! and no wait ends with `stored`.

use redis::{RedisResult, aio::ConnectionLike};

use super::{keys::Partition, layout::Layout, record::IngestId};
use crate::ids::{Epoch, RoomId, Seq};

/// The field of the proof in the hash of exceptions. The keys of exceptions contain U+001F, so none is equal.
const PROOF_FIELD: &str = "proof";

/// Writes a watermark if it still is what the caller read, and publishes its notice.
const CLOSE_LUA: &str = "#!lua flags=allow-oom\n\
    if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end\n\
    redis.call('SET', KEYS[1], ARGV[2])\n\
    redis.call(ARGV[3], KEYS[1], ARGV[4])\n\
    return 1";

/// Writes a watermark, removes exceptions and proof, and publishes a notice.
const REOPEN_LUA: &str = "#!lua flags=allow-oom\n\
    redis.call('SET', KEYS[1], ARGV[1])\n\
    redis.call('DEL', KEYS[2], KEYS[3])\n\
    return redis.call(ARGV[2], KEYS[1], ARGV[3])";

/// The watermark and the proof of a partition, as Redis holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredState {
    watermark: Option<String>,
    /// A room with a seq that PostgreSQL has stored.
    pub proof: Option<(RoomId, Seq)>,
}

impl StoredState {
    /// The epoch of the watermark; 0 without a watermark.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.watermark.as_deref().and_then(parse_watermark).map_or(Epoch(0), |(epoch, _)| epoch)
    }

    /// The watermark as Redis holds it: `<epoch> <ingest id>`.
    #[must_use]
    pub fn watermark(&self) -> Option<&str> {
        self.watermark.as_deref()
    }

    fn parse(watermark: Option<String>, proofs: [Option<String>; 2]) -> Self {
        // The proof of the newer hash of exceptions comes first.
        let proof = proofs.into_iter().flatten().next();
        let proof = proof.and_then(|proof| {
            let (seq, room) = proof.split_once(' ')?;
            Some((RoomId::parse(room).ok()?, Seq(seq.parse().ok()?)))
        });
        Self { watermark, proof }
    }
}

/// Parses the stored watermark of a partition as Redis holds it: `<epoch> <ingest id>`.
#[must_use]
pub fn parse_watermark(value: &str) -> Option<(Epoch, IngestId)> {
    let (epoch, id) = value.split_once(' ')?;
    Some((Epoch(epoch.parse().ok()?), id.parse().ok()?))
}

/// Formats a proof as `stored.lua` stores it.
#[must_use]
pub fn format_proof(room: &RoomId, seq: Seq) -> String {
    format!("{seq} {room}")
}

/// Reads the states of partitions, in their order.
///
/// # Errors
/// Fails if Redis does not answer, or does not serve one of the partitions.
pub async fn read_stored_states(
    connection: &mut impl ConnectionLike,
    partitions: &[Partition],
) -> RedisResult<Vec<(Partition, StoredState)>> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        let exceptions = partition.exceptions();
        pipe.cmd("GET").arg(partition.stored());
        pipe.cmd("HGET").arg(&exceptions).arg(PROOF_FIELD);
        pipe.cmd("HGET").arg(format!("{exceptions}:old")).arg(PROOF_FIELD);
    }
    let answers: Vec<Option<String>> = pipe.query_async(connection).await?;
    let mut answers = answers.into_iter();
    let mut next = || answers.next().flatten();
    Ok(partitions
        .iter()
        .map(|partition| (*partition, StoredState::parse(next(), [next(), next()])))
        .collect())
}

/// Closes a partition: gives its watermark the epoch `closing`, or a later one that nobody opened. Does nothing if the watermark is no longer that of `state`.
///
/// # Errors
/// Fails if Redis does not answer, or does not serve the partition.
pub async fn close_partition(
    connection: &mut impl ConnectionLike,
    layout: Layout,
    partition: Partition,
    state: &StoredState,
    closing: Epoch,
) -> RedisResult<bool> {
    let held = state.watermark.as_deref().unwrap_or_default();
    // A closed partition stays at its epoch. An open one gets a later epoch, whatever the clock says.
    let least = if held.ends_with(" 0-0") { state.epoch() } else { Epoch(state.epoch().0 + 1) };
    let epoch = least.max(closing);
    let value = if epoch == state.epoch() { held.to_owned() } else { format!("{epoch} 0-0") };
    let mut command = redis::cmd("EVAL");
    command.arg(CLOSE_LUA).arg(1).arg(partition.stored()).arg(held).arg(value);
    command.arg(layout.publish_command()).arg(notice(partition, epoch));
    command.query_async(connection).await
}

/// Starts an epoch at its beginning, for a partition that nobody writes meanwhile. Removes the exceptions, which may
/// name seqs that PostgreSQL has lost.
///
/// # Errors
/// Fails if Redis does not answer, or does not serve the partition.
pub async fn reopen_partition(
    connection: &mut impl ConnectionLike,
    layout: Layout,
    partition: Partition,
    epoch: Epoch,
) -> RedisResult<()> {
    let exceptions = partition.exceptions();
    let mut command = redis::cmd("EVAL");
    command.arg(REOPEN_LUA).arg(3).arg(partition.stored()).arg(&exceptions).arg(format!("{exceptions}:old"));
    command.arg(format!("{epoch} 0-0")).arg(layout.publish_command()).arg(notice(partition, epoch));
    command.query_async::<i64>(connection).await.map(drop)
}

/// The notice of a watermark at the beginning of an epoch, as `stored.lua` publishes it.
fn notice(partition: Partition, epoch: Epoch) -> String {
    format!("{epoch} 0-0 0-0 {:02}", partition.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_of_newer_hash_is_used() {
        let room = RoomId::parse("tea").unwrap();
        let new = Some(format_proof(&room, Seq(7)));
        let state = StoredState::parse(Some("4 17-3".to_owned()), [new.clone(), Some("3 cake".to_owned())]);
        assert_eq!((state.epoch(), state.proof), (Epoch(4), Some((room.clone(), Seq(7)))));
        assert_eq!(StoredState::parse(None, [None, new]).proof, Some((room, Seq(7))));
        assert_eq!(StoredState::parse(None, [None, None]), StoredState::default());
    }
}
