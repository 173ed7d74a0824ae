//! A record that came by pub/sub, shared by all workers that want it. When the last of them has put it into its
//! outboxes, the time since it took its place in the log is told.

use std::{
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidings_shared::{
    log::Record,
    prometheus::Histogram,
    telemetry::{self, SpanKind, TraceContext},
};

/// Wire type of a message's event.
const MESSAGE: &str = "message:new";

/// See the module.
#[derive(Debug)]
pub struct Published {
    record: Record,
    delivered: AtomicBool,
    seconds: Histogram,
    /// When it came, when it is traced.
    came: Option<(TraceContext, SystemTime)>,
}

impl Published {
    /// `seconds`: takes the time to the outboxes.
    pub fn new(record: Record, seconds: Histogram) -> Self {
        // Nearly all have no context.
        let trace = Some(record.traceparent()).filter(|text| !text.is_empty()).and_then(TraceContext::parse);
        let came = trace.map(|trace| (trace, SystemTime::now()));
        Self { record, delivered: AtomicBool::new(false), seconds, came }
    }

    /// A worker has sent it to whoever is to see it.
    pub fn delivered(&self) {
        self.delivered.store(true, Ordering::Relaxed);
    }
}

impl Deref for Published {
    type Target = Record;
    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if *self.delivered.get_mut() {
            take_time(&self.seconds, &self.record);
            if let Some((trace, came)) = self.came {
                drop(telemetry::follow("deliver", SpanKind::Consumer, trace, Some(came)));
            }
        }
    }
}

/// Takes the time to the outboxes of a record that is a message.
pub fn take_time(seconds: &Histogram, record: &Record) {
    if record.kind() == MESSAGE {
        seconds.observe(since(record).as_secs_f64());
    }
}

/// Since a record took its place in the log, by the clocks of Redis and of this machine; never less than nothing.
pub fn since(record: &Record) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(u64::try_from(record.at_ms).unwrap_or_default()))
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
    fn a_message_is_timed_once_when_its_last_worker_is_done_and_nothing_else_is() {
        let seconds = Metrics::new().deliver_seconds;
        let published = Arc::new(Published::new(record(MESSAGE), seconds.clone()));
        let other = published.clone();
        published.delivered();
        other.delivered();
        drop(published);
        assert_eq!(seconds.get_sample_count(), 0);
        drop(other);
        assert_eq!(seconds.get_sample_count(), 1);
        drop(Published::new(record(MESSAGE), seconds.clone()));
        let edit = Published::new(record("message:edited"), seconds.clone());
        edit.delivered();
        drop(edit);
        assert_eq!(seconds.get_sample_count(), 1, "not delivered, or no message");
    }
}
