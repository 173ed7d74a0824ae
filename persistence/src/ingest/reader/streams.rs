//! Reads ingest streams with XREAD. One Redis reads all streams in one command, and waits for records. In a Redis
//! Cluster each stream is in another slot, so a pipeline has one command for each stream, and none of them waits.

use bytes::Bytes;
use redis::{RedisError, RedisResult, aio::MultiplexedConnection};
use tidings_shared::log::{IngestId, keys::Partition};

use super::PartitionRead;
use crate::batch::IngestEntry;
use crate::ingest::owned_partitions::ReadPosition;

/// How long a read waits for records. Then the reader looks for changed positions. Far below the connection's response
/// timeout.
const BLOCK_MS: u64 = 100;

/// The entries of each stream, by key. An entry is an id and its fields.
type StreamEntries = Vec<(String, Vec<(String, Vec<Bytes>)>)>;

/// Reads up to `count` records of each stream after these positions, with one command. With `block`, waits up to
/// `BLOCK_MS` for a record.
pub(super) async fn read_together(
    connection: &mut MultiplexedConnection,
    positions: &[ReadPosition],
    count: usize,
    block: bool,
) -> RedisResult<Vec<PartitionRead>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count);
    if block {
        command.arg("BLOCK").arg(BLOCK_MS);
    }
    command.arg("STREAMS");
    for position in positions {
        command.arg(position.partition.ingest());
    }
    for position in positions {
        command.arg(position.after.to_string());
    }
    let streams: Option<StreamEntries> = command.query_async(connection).await?;
    Ok(partition_reads(positions, streams.unwrap_or_default()))
}

/// Reads up to `count` records of each stream after these positions, with one command for each stream. Also returns the
/// errors of the streams that cannot be read.
pub(super) async fn read_each(
    connection: &mut MultiplexedConnection,
    positions: &[ReadPosition],
    count: usize,
) -> RedisResult<(Vec<PartitionRead>, Vec<(Partition, RedisError)>)> {
    let mut pipe = redis::pipe();
    for ReadPosition { partition, after, .. } in positions {
        pipe.cmd("XREAD").arg("COUNT").arg(count);
        pipe.arg("STREAMS").arg(partition.ingest()).arg(after.to_string());
    }
    let answers: Vec<RedisResult<Option<StreamEntries>>> =
        pipe.ignore_errors().query_async(connection).await?;
    let (mut reads, mut errors) = (Vec::new(), Vec::new());
    for (position, answer) in positions.iter().zip(answers) {
        match answer {
            Ok(streams) => {
                reads.extend(partition_reads(std::slice::from_ref(position), streams.unwrap_or_default()))
            }
            Err(error) => errors.push((position.partition, error)),
        }
    }
    Ok((reads, errors))
}

/// The next positions of the streams that returned as many records as requested.
pub(super) fn positions_of_full_streams(reads: &[PartitionRead], limit: usize) -> Vec<ReadPosition> {
    let full = reads.iter().filter(|read| read.entries.len() >= limit);
    let position = |read: &PartitionRead| {
        let after = read.entries.last().map_or(read.after, |last| last.id);
        ReadPosition { partition: read.partition, pass: read.pass, after }
    };
    full.map(position).collect()
}

fn partition_reads(positions: &[ReadPosition], streams: StreamEntries) -> Vec<PartitionRead> {
    let mut reads = Vec::with_capacity(streams.len());
    for (key, entries) in streams {
        let Some(position) = positions.iter().find(|position| position.partition.ingest() == key) else {
            continue;
        };
        let partition = position.partition;
        let entry = |(id, mut fields): (String, Vec<Bytes>)| {
            // Parsing never fails, because Redis returns only ids of this form.
            let id: IngestId = id.parse().ok()?;
            Some(IngestEntry::parse(partition, id, fields.pop().unwrap_or_default()))
        };
        let entries = entries.into_iter().filter_map(entry).collect();
        reads.push(PartitionRead { partition, pass: position.pass, after: position.after, entries });
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_belong_to_the_pass_of_their_request() {
        let after = IngestId { ms: 4, n: 2 };
        let position = |partition, pass| ReadPosition { partition, pass, after };
        let positions = [position(Partition(3), 7), position(Partition(4), 9)];
        let entry = |id: &str| (id.to_owned(), vec![Bytes::from_static(b"r"), Bytes::from_static(b"record")]);
        let streams = vec![(Partition(4).ingest().to_owned(), vec![entry("5-0"), entry("5-1")])];
        let reads = partition_reads(&positions, streams);
        assert_eq!((reads.len(), reads[0].partition, reads[0].pass), (1, Partition(4), 9));
        assert_eq!(reads[0].after, after);
        let ids: Vec<String> = reads[0].entries.iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(ids, ["5-0", "5-1"]);
        assert_eq!(reads[0].entries[0].raw, "record");
    }
}
