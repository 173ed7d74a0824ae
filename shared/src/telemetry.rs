//! Logs: one JSON object a line on standard error. Never a token, never a message's text.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging with a filter such as `info` or `tidings_gateway=debug,info`.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
    let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())
}
