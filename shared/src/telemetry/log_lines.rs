//! Adds `trace_id` and `span_id` to the log lines of a traced message or request.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::TraceContext;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Runs a future whose log lines contain the ids of a span.
pub async fn in_trace<T>(context: TraceContext, work: impl Future<Output = T>) -> T {
    CURRENT.scope(context, work).await
}

/// Runs a function whose log lines contain the ids of a span.
pub fn log_in_trace(context: TraceContext, log: impl FnOnce()) {
    CURRENT.sync_scope(context, log);
}

/// Returns the span that [`in_trace`] or [`log_in_trace`] has set for the running code, or `None`.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|trace| *trace).ok()
}

/// A log format that adds the ids of the current span to the JSON lines of the inner format.
pub(super) struct TraceIdFormat<F>(pub F);

impl<F, S, N> FormatEvent<S, N> for TraceIdFormat<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}') {
            Some(fields) => {
                writeln!(writer, "{fields},\"trace_id\":\"{}\",\"span_id\":\"{}\"}}", trace.trace, trace.span)
            }
            None => writeln!(writer, "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn only_lines_within_a_span_contain_its_ids() {
        let buffer = LogBuffer::default();
        let writer = buffer.clone();
        let layer = fmt::layer().json().flatten_event(true).with_current_span(false);
        let layer = layer.with_writer(move || writer.clone()).map_event_format(TraceIdFormat);
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        tracing::info!(seq = 1, "before");
        in_trace(context, async {
            tokio::task::yield_now().await;
            tracing::info!(seq = 2, "a \"traced\" one");
        })
        .await;
        tracing::info!(seq = 3, "behind");
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((&lines[1]["span_id"], &lines[1]["seq"]), (&"00f067aa0ba902b7".into(), &2.into()));
        assert!(lines[0].get("trace_id").is_none() && lines[2].get("trace_id").is_none(), "{text}");
    }
}
