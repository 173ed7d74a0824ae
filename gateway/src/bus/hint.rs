//! Published records on their way to the workers, with their frames. A *run* is the records of one payload, if they
//! have consecutive seqs and every member may see them. The frames of a run are sent to a receiver together.

use std::sync::Arc;

use tidings_shared::{log::Record, prometheus::Histogram};

use super::published::PublishedRecord;
use crate::transport::{Frame, FrameRun};

/// Maximum bytes of the records in a run. It is far below the limit of an outbox, because a run is queued as a whole.
const MAX_RUN_BYTES: usize = 32 * 1024;

/// A published record and its frame. All clones share both.
#[derive(Debug, Clone)]
pub struct Hint {
    pub record: Arc<PublishedRecord>,
    pub frame: Frame,
    /// The run that begins with this record. The further records of the run follow directly.
    pub run: Option<Arc<FrameRun>>,
}

impl Hint {
    /// Creates a hint for each record of a payload, and passes the hints to `add`. `seconds` is the histogram of
    /// delivery times.
    pub(super) fn create_all(records: Vec<Record>, seconds: &Histogram, mut add: impl FnMut(Self)) {
        let run = is_run(&records).then(|| Arc::new(FrameRun::text(records.iter().map(Record::json))));
        for (index, record) in records.into_iter().enumerate() {
            // The frame is encoded once for all connections of the node.
            let frame = match &run {
                Some(run) => run.frames()[index].clone(),
                None => Frame::text(record.json()),
            };
            let record = Arc::new(PublishedRecord::new(record, seconds.clone()));
            add(Self { record, frame, run: run.clone().filter(|_| index == 0) });
        }
    }

    /// The bytes that the hint holds in a queue.
    pub fn bytes(&self) -> usize {
        self.record.raw().len() + self.frame.len()
    }
}

/// Whether the records are several consecutive events of one room that every member may see.
fn is_run(records: &[Record]) -> bool {
    let follows = |a: &Record, b: &Record| {
        (b.epoch, b.seq) == (a.epoch, a.seq.next()) && a.room() == b.room() && !a.is_live_only()
    };
    let is_plain = |record: &Record| record.visibility().is_empty() && record.membership().is_empty();
    records.len() > 1
        && records.is_sorted_by(follows)
        && records.iter().all(is_plain)
        && records.iter().map(|record| record.raw().len()).sum::<usize>() <= MAX_RUN_BYTES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::metrics::Metrics;

    /// A record with this epoch, seq, room, visibility and membership.
    fn record((epoch, seq, room, visibility, membership): (u64, u64, &str, &str, &str)) -> Record {
        let line = format!(
            "1\x1f{epoch}\x1f{seq}\x1f0\x1f{room}\x1fk\x1f\x1f\x1f\x1f{visibility}\x1f{membership}\x1f\n{{}}"
        );
        Record::parse(Bytes::from(line)).unwrap()
    }

    fn run_lengths(records: &[(u64, u64, &str, &str, &str)]) -> Vec<usize> {
        let (mut lengths, metrics) = (Vec::new(), Metrics::new());
        Hint::create_all(records.iter().copied().map(record).collect(), &metrics.deliver_seconds, |hint| {
            assert_eq!(hint.frame.payload(), hint.record.json());
            lengths.push(hint.run.map_or(0, |run| run.frames().len()));
        });
        lengths
    }

    #[test]
    fn only_consecutive_public_events_are_a_run() {
        let first = (1, 5, "r", "", "");
        assert_eq!(run_lengths(&[first, (1, 6, "r", "", ""), (1, 7, "r", "", "")]), [3, 0, 0]);
        for second in [
            (1, 7, "r", "", ""),
            (1, 5, "r", "", ""),
            (2, 6, "r", "", ""),
            (1, 6, "other", "", ""),
            (1, 6, "r", "u=bob", ""),
            (1, 6, "r", "", "bob\x1emember"),
        ] {
            assert_eq!(run_lengths(&[first, second]), [0, 0], "{second:?}");
        }
        assert_eq!(
            run_lengths(&[(1, 0, "r", "", ""), (1, 1, "r", "", "")]),
            [0, 0],
            "a live-only record has no position"
        );
        assert_eq!(run_lengths(&[first]), [0]);
    }
}
