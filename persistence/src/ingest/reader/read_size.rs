//! How many records a read requests, so that its answer stays below a limit of bytes. Pure.

use super::MAX_BATCH_RECORDS;

/// Maximum number of bytes of one read, estimated from the sizes of earlier records.
const MAX_READ_BYTES: usize = 8 * 1024 * 1024;
/// Smallest estimate of the size of a record.
const MIN_RECORD_ESTIMATE_BYTES: usize = 4 * 1024;

/// The expected size of the largest record in bytes: the largest size in the last read, at least
/// [`MIN_RECORD_ESTIMATE_BYTES`]. Doubles after a failed read, because the read may have been too large; the next read
/// then requests fewer records.
pub(super) struct RecordSizeEstimate(usize);

impl Default for RecordSizeEstimate {
    fn default() -> Self {
        Self(MIN_RECORD_ESTIMATE_BYTES)
    }
}

impl RecordSizeEstimate {
    /// Sets the estimate after a read of records of these sizes.
    pub fn update(&mut self, sizes: impl Iterator<Item = usize>) {
        self.0 = sizes.max().unwrap_or_default().max(MIN_RECORD_ESTIMATE_BYTES);
    }

    /// Doubles the estimate after a failed read.
    pub fn double(&mut self) {
        self.0 = (self.0 * 2).min(MAX_READ_BYTES);
    }

    /// The maximum number of records of one read.
    pub fn max_records(&self) -> usize {
        MAX_BATCH_RECORDS.min(MAX_READ_BYTES / self.0.max(1))
    }

    /// The number of records to request from each of `streams` streams, at least 1.
    pub fn records_per_stream(&self, streams: usize) -> usize {
        (self.max_records() / streams).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_or_large_records_reduce_the_read_size() {
        let records_per_stream = |streams, largest| RecordSizeEstimate(largest).records_per_stream(streams);
        assert_eq!(records_per_stream(1, 300), MAX_BATCH_RECORDS);
        assert_eq!(records_per_stream(64, 300), 15);
        assert!(records_per_stream(64, 300) * 64 <= MAX_BATCH_RECORDS);
        assert_eq!(records_per_stream(1, 64 * 1024), 128);
        assert_eq!(records_per_stream(64, 4 * 1024 * 1024), 1);
    }

    #[test]
    fn failed_reads_shrink_until_one_succeeds() {
        let mut largest = RecordSizeEstimate::default();
        assert_eq!(largest.records_per_stream(1), MAX_BATCH_RECORDS);
        let mut counts = Vec::new();
        for _ in 0..12 {
            largest.double();
            counts.push(largest.records_per_stream(1));
        }
        assert!(counts.is_sorted_by(|a, b| a >= b) && counts.ends_with(&[2, 1, 1]), "{counts:?}");
        largest.update([300, 70_000].into_iter());
        assert_eq!(largest.records_per_stream(1), MAX_READ_BYTES / 70_000);
        largest.update(std::iter::empty());
        assert_eq!(largest.records_per_stream(1), MAX_BATCH_RECORDS);
    }
}
