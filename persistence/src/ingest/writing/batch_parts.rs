//! A batch that is gathered from reads: the records of each partition, and the position after which they were read.
//! Pure. The first record of a part follows that position, and the records of a part have no gap.

use std::collections::BTreeMap;

use tidings_shared::log::{IngestId, keys::Partition};
use tokio::sync::OwnedSemaphorePermit;

use crate::batch::IngestEntry;
use crate::ingest::reader::{Chunk, PartitionRead};

/// The records of one partition in a batch.
#[derive(Debug)]
pub(super) struct BatchPart {
    /// The number of the pass that read the entries.
    pub pass: u64,
    /// The position after which the entries were read. No record lies between this position and the first entry.
    pub after: IngestId,
    /// The entries in stream order, at least one.
    pub entries: Vec<IngestEntry>,
}

impl BatchPart {
    pub fn upto(&self) -> IngestId {
        self.entries.last().map_or(self.after, |last| last.id)
    }
}

/// The records of a batch, by partition.
#[derive(Debug, Default)]
pub(super) struct Batch(pub BTreeMap<Partition, BatchPart>);

impl Batch {
    /// Adds a chunk, and returns the permit that the reader waits for.
    pub fn add(&mut self, chunk: Chunk) -> Option<OwnedSemaphorePermit> {
        chunk.reads.into_iter().for_each(|read| self.add_read(read));
        chunk.reader_permit
    }

    fn add_read(&mut self, read: PartitionRead) {
        let PartitionRead { partition, pass, after, entries } = read;
        match self.0.get_mut(&partition) {
            Some(part) if part.pass == pass && part.upto() == after => part.entries.extend(entries),
            // Discards the present part: it is of an earlier pass, or a gap follows it. `OwnedPartitions::claim`
            // detects the gap, because the new part does not begin at the committed position.
            _ => {
                self.0.insert(partition, BatchPart { pass, after, entries });
            }
        }
    }

    pub fn record_count(&self) -> usize {
        self.0.values().map(|part| part.entries.len()).sum()
    }

    /// Copies of all entries, ordered by partition and by stream position.
    pub fn entries(&self) -> Vec<IngestEntry> {
        self.0.values().flat_map(|part| &part.entries).cloned().collect()
    }

    /// Splits the batch into two halves. The records of a partition stay in order: its part in the second half follows
    /// its part in the first half.
    pub fn halve(self) -> (Self, Self) {
        let mut left = self.record_count() / 2;
        let (mut first, mut second) = (Self::default(), Self::default());
        for (partition, mut part) in self.0 {
            let rest = part.entries.split_off(left.min(part.entries.len()));
            left -= part.entries.len();
            let rest = BatchPart { pass: part.pass, after: part.upto(), entries: rest };
            for (half, part) in [(&mut first, part), (&mut second, rest)] {
                if !part.entries.is_empty() {
                    half.0.insert(partition, part);
                }
            }
        }
        (first, second)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn id(ms: u64) -> IngestId {
        IngestId { ms, n: 0 }
    }

    fn read(partition: u16, pass: u64, after: u64, upto: u64) -> PartitionRead {
        let partition = Partition(partition);
        let entry = |ms| IngestEntry::parse(partition, id(ms), Bytes::new());
        PartitionRead { partition, pass, after: id(after), entries: (after + 1..=upto).map(entry).collect() }
    }

    fn batch(sizes: &[(u16, u64)]) -> Batch {
        let mut batch = Batch::default();
        sizes.iter().for_each(|(partition, size)| batch.add_read(read(*partition, 1, 0, *size)));
        batch
    }

    fn ids(batch: &Batch) -> Vec<(u16, u64)> {
        batch.entries().iter().map(|entry| (entry.partition.0, entry.id.ms)).collect()
    }

    #[test]
    fn halves_hold_the_whole_batch_in_order() {
        for sizes in [&[(1, 2)][..], &[(1, 1), (2, 1)], &[(1, 5), (2, 1), (7, 4)], &[(3, 1000)]] {
            let whole = batch(sizes);
            let (all, records) = (ids(&whole), whole.record_count());
            let (first, second) = whole.halve();
            assert_eq!([ids(&first), ids(&second)].concat(), all);
            assert_eq!((first.record_count(), second.record_count()), (records / 2, records - records / 2));
        }
    }

    #[test]
    fn second_half_of_a_part_follows_the_first() {
        let (first, second) = batch(&[(1, 5), (2, 3)]).halve();
        assert_eq!((first.0[&Partition(1)].after, first.0[&Partition(1)].upto()), (id(0), id(4)));
        assert_eq!((second.0[&Partition(1)].after, second.0[&Partition(2)].after), (id(4), id(0)));
    }

    #[test]
    fn reads_are_joined_only_within_a_pass_without_gap() {
        let mut batch = Batch::default();
        batch.add_read(read(1, 1, 0, 2));
        batch.add_read(read(1, 1, 2, 3));
        assert_eq!(ids(&batch), [(1, 1), (1, 2), (1, 3)]);
        batch.add_read(read(1, 1, 4, 5));
        assert_eq!((batch.0[&Partition(1)].after, ids(&batch)), (id(4), vec![(1, 5)]), "a gap");
        batch.add_read(read(1, 2, 0, 1));
        assert_eq!((batch.0[&Partition(1)].after, ids(&batch)), (id(0), vec![(1, 1)]), "another pass");
    }
}
