//! Logs and traces. Log lines are JSON objects on standard error, with `trace_id` and `span_id` if they belong to a
//! traced message or request. Traces are spans of sampled messages and requests, which are sent to a collector by OTLP.
//! Logs and traces never contain a token, a message text, or other personal data.

mod context;
mod log_lines;
mod otlp;
mod span_queue;
mod traces;

use tracing::Level;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use context::TraceContext;
pub use log_lines::{current, in_trace, log_in_trace};
pub use opentelemetry::trace::SpanKind;
pub use otlp::{HAS_OTLP, OTLP_IS_MISSING, exporter};
pub use span_queue::spans_lost;
pub use traces::{Span, begin_trace, child, child_of, start as start_traces, stop as stop_traces};

/// Starts logging with a filter such as `info` or `tidings_gateway=debug,info`.
pub fn start(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
    let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(std::io::stderr);
    let lines = lines.map_event_format(log_lines::TraceIdFormat);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())
}

/// Logs why a service cannot run or ended with an error, as the last line of its process. Prints the reason as plain
/// text if the filter hides errors, because a process must not end without a reason.
pub fn log_fatal(error: &str) {
    if tracing::enabled!(Level::ERROR) {
        tracing::error!(error, "the service cannot run");
    } else {
        eprintln!("the service cannot run: {error}");
    }
}
