//! A record that arrived by pub/sub, shared by all workers with subscriptions in its room. When the last worker drops a
//! delivered message, the time since its append is added to the histogram of delivery times.

use std::{
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use tidings_shared::{
    clock::unix_ms,
    log::Record,
    prometheus::Histogram,
    telemetry::{self, SpanKind, TraceContext},
};

const MESSAGE_KIND: &str = "message:new";

/// A record that arrived by pub/sub, with the data that measures its delivery time.
#[derive(Debug)]
pub struct PublishedRecord {
    record: Record,
    delivered: AtomicBool,
    delivery_seconds: Histogram,
    /// The trace context of the record and the time of its arrival; `None` if the record is not traced.
    traced_arrival: Option<(TraceContext, SystemTime)>,
}

impl PublishedRecord {
    /// `delivery_seconds` is the histogram of the times from the append of a message until it is queued in the
    /// outboxes.
    pub fn new(record: Record, delivery_seconds: Histogram) -> Self {
        // Most records have an empty trace context, which need not be parsed.
        let trace = Some(record.traceparent()).filter(|text| !text.is_empty()).and_then(TraceContext::parse);
        let traced_arrival = trace.map(|trace| (trace, SystemTime::now()));
        Self { record, delivered: AtomicBool::new(false), delivery_seconds, traced_arrival }
    }

    /// Marks the record as delivered, so that its delivery time is observed.
    pub fn mark_delivered(&self) {
        self.delivered.store(true, Ordering::Relaxed);
    }
}

impl Deref for PublishedRecord {
    type Target = Record;
    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Drop for PublishedRecord {
    fn drop(&mut self) {
        if *self.delivered.get_mut() {
            observe_delivery(&self.delivery_seconds, &self.record);
            if let Some((trace, arrival)) = self.traced_arrival {
                drop(telemetry::child_of("deliver", SpanKind::Consumer, trace, Some(arrival)));
            }
        }
    }
}

/// Adds the time since the append of a record to the histogram `seconds`, if the record is a message.
pub fn observe_delivery(seconds: &Histogram, record: &Record) {
    if record.kind() == MESSAGE_KIND {
        seconds.observe(record_age(record).as_secs_f64());
    }
}

/// The time since a record was appended, as the difference of this machine's clock and Redis's clock; at least 0.
pub fn record_age(record: &Record) -> Duration {
    Duration::from_millis(u64::try_from(unix_ms().saturating_sub(record.at_ms)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::metrics::Metrics;

    fn record(kind: &str) -> Record {
        let line = format!("1\x1f1\x1f1\x1f0\x1fr\x1f{kind}\x1f\x1f\x1f\x1f\x1f\x1f\n{{}}");
        Record::parse(Bytes::from(line)).unwrap()
    }

    #[test]
    fn message_is_timed_once_after_its_last_worker() {
        let seconds = Metrics::new().deliver_seconds;
        let published = Arc::new(PublishedRecord::new(record(MESSAGE_KIND), seconds.clone()));
        let other = published.clone();
        published.mark_delivered();
        other.mark_delivered();
        drop(published);
        assert_eq!(seconds.get_sample_count(), 0);
        drop(other);
        assert_eq!(seconds.get_sample_count(), 1);
        drop(PublishedRecord::new(record(MESSAGE_KIND), seconds.clone()));
        let edit = PublishedRecord::new(record("message:edited"), seconds.clone());
        edit.mark_delivered();
        drop(edit);
        assert_eq!(
            seconds.get_sample_count(),
            1,
            "a record that was not delivered or is no message is not timed"
        );
    }
}
