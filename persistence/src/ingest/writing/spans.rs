//! Creates the trace spans of a committed batch: for each traced record a span of the write, with a child span of the
//! COMMIT. They are created after the COMMIT, with the measured times.

use std::time::SystemTime;

use tidings_shared::telemetry::{self, SpanKind, TraceContext, log_in_trace};

use crate::batch::IngestEntry;

/// Creates the spans of the traced records of a batch. The batch began at `begun`, its COMMIT was sent at `committing`
/// and answered at `committed`.
pub(super) fn create_spans(
    entries: &[IngestEntry],
    begun: SystemTime,
    committing: Option<SystemTime>,
    committed: SystemTime,
) {
    let contexts = entries.iter().filter_map(|entry| {
        // Most records are not traced.
        let text = entry.record.as_ref().ok()?.traceparent();
        if text.is_empty() { None } else { TraceContext::parse(text) }
    });
    for context in contexts {
        let Some(mut write) = telemetry::child_of("batch write", SpanKind::Consumer, context, Some(begun))
        else {
            continue;
        };
        write.set_attribute("tidings.batch.records", i64::try_from(entries.len()).unwrap_or(i64::MAX));
        let commit = telemetry::child_of("commit", SpanKind::Client, write.context(), committing);
        if let Some(commit) = commit {
            commit.end_at(committed);
        }
        log_in_trace(write.context(), || tracing::debug!(records = entries.len(), "a batch is committed"));
        write.end_at(committed);
    }
}
