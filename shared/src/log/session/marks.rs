//! The marks of epochs in a Redis Cluster: `{p}:epoch` holds the number of the partition's epoch. A slot may move away,
//! and come back to the same process without its data. Then the mark is missing or old. A single Redis has no marks.

use std::collections::HashMap;

use redis::{
    AsyncConnectionConfig, RedisError, RedisResult,
    aio::{ConnectionLike, MultiplexedConnection},
};

use super::{SessionError, shard::connect_to_process};
use crate::{
    ids::Epoch,
    log::{
        RedisClient,
        keys::Partition,
        layout::Layout,
        process_id::ProcessId,
        stored_state::{StoredState, parse_watermark, read_stored_states, reopen_partition},
    },
    sabotage,
};

/// Writes a mark even if the memory of Redis is full. Otherwise a full process could not be used again, although the
/// records in it are then stored and removed.
const WRITE_MARK_LUA: &str = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])";

/// A Redis process, and a connection on which its marks are read and written.
#[derive(Debug, Clone)]
pub struct MarkedProcess {
    pub id: ProcessId,
    connection: MultiplexedConnection,
}

impl MarkedProcess {
    /// Connects to the process behind the client's address.
    pub async fn connect(client: &RedisClient) -> Result<Self, SessionError> {
        let (connection, id) = connect_to_process(client, AsyncConnectionConfig::new()).await?;
        Ok(Self { id, connection })
    }

    /// The epochs of the watermarks of partitions, in their order; 0 for a watermark that is missing or unreadable.
    pub async fn read_stored_epochs(&self, partitions: &[Partition]) -> Result<Vec<Epoch>, SessionError> {
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for partition in partitions {
            pipe.cmd("GET").arg(partition.stored());
        }
        let values: Vec<RedisResult<Option<String>>> = pipe.query_async(&mut self.connection.clone()).await?;
        let epoch = |value: Option<String>| parse_watermark(&value?).map(|(epoch, _)| epoch);
        Ok(values.into_iter().map(|value| value.ok().and_then(epoch).unwrap_or_default()).collect())
    }

    /// Reads the watermarks and proofs of partitions that the process serves.
    pub async fn read_stored_states(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, StoredState)>, SessionError> {
        Ok(read_stored_states(&mut self.connection.clone(), partitions).await?)
    }

    /// Starts `epoch` at its beginning in a partition: see [`reopen_partition`].
    pub async fn reopen_partition(&self, partition: Partition, epoch: Epoch) -> Result<(), SessionError> {
        Ok(reopen_partition(&mut self.connection.clone(), self.id.layout, partition, epoch).await?)
    }
}

/// The partitions that a process serves, each with the epoch of its mark.
#[derive(Debug, Default)]
pub struct EpochMarks {
    /// `None` for a single Redis.
    found: Option<HashMap<Partition, Option<Epoch>>>,
}

impl EpochMarks {
    /// Reads the marks of partitions at a process. Leaves out the partitions that the process does not serve, and those
    /// whose slot is moving. Reads nothing from a single Redis.
    pub async fn read(process: &MarkedProcess, partitions: &[Partition]) -> Result<Self, SessionError> {
        Self::read_on(&mut process.connection.clone(), process.id.layout, partitions).await
    }

    /// [`EpochMarks::read`] on a connection to a process with this layout.
    pub(super) async fn read_on(
        connection: &mut impl ConnectionLike,
        layout: Layout,
        partitions: &[Partition],
    ) -> Result<Self, SessionError> {
        if layout == Layout::Single {
            return Ok(Self::default());
        }
        let answers = read_each_mark(connection, partitions).await?;
        let served = partitions.iter().zip(answers).filter_map(|(partition, answer)| {
            let mark = answer.ok()?;
            Some((*partition, mark.and_then(|mark| mark.parse().ok()).map(Epoch)))
        });
        Ok(Self { found: Some(served.collect()) })
    }

    /// Whether the process serves the partition.
    pub fn contains(&self, partition: Partition) -> bool {
        self.found.as_ref().is_none_or(|found| found.contains_key(&partition))
    }

    /// Whether the partition's data at the process are those of this epoch, as far as the mark tells.
    pub fn may_continue(&self, partition: Partition, epoch: Epoch) -> bool {
        let is_marked = |found: &HashMap<_, _>| found.get(&partition) == Some(&Some(epoch));
        self.found.as_ref().is_none_or(is_marked)
            || sabotage::is_removed("the mark is compared when an epoch is opened")
    }

    /// Writes the marks of partitions that get a new epoch. Writes nothing into a single Redis. Fails if one of the
    /// partitions has left the process meanwhile.
    pub async fn write(
        &self,
        process: &MarkedProcess,
        partitions: &[Partition],
        epoch: Epoch,
    ) -> Result<(), SessionError> {
        if self.found.is_none() || partitions.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        for partition in partitions {
            pipe.cmd("EVAL").arg(WRITE_MARK_LUA).arg(1).arg(partition.epoch_mark()).arg(epoch.0).ignore();
        }
        let () = pipe.query_async(&mut process.connection.clone()).await?;
        Ok(())
    }
}

/// Reads the marks of partitions. An error of one partition is its own answer.
pub(in crate::log) async fn read_each_mark(
    connection: &mut impl ConnectionLike,
    partitions: &[Partition],
) -> Result<Vec<RedisResult<Option<String>>>, RedisError> {
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for partition in partitions {
        pipe.cmd("GET").arg(partition.epoch_mark());
    }
    pipe.query_async(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_continues_only_with_its_own_mark() {
        let marks = EpochMarks {
            found: Some([(Partition(1), Some(Epoch(5))), (Partition(2), None)].into_iter().collect()),
        };
        let continues = [1, 2, 3].map(|partition| marks.may_continue(Partition(partition), Epoch(5)));
        assert_eq!(continues, [true, false, false]);
        assert!(!marks.may_continue(Partition(1), Epoch(4)));
        assert!(marks.contains(Partition(2)) && !marks.contains(Partition(3)));
        let single = EpochMarks::default();
        assert!(single.contains(Partition(3)) && single.may_continue(Partition(3), Epoch(5)));
    }
}
