//! Spans of sampled messages and requests. A message or request that is not sampled has no span.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue, Value,
    trace::{Span as _, Status},
};
use opentelemetry_sdk::trace::Span as Recorded;

use super::TraceContext;

/// A span that is recorded. The span ends when this value is dropped.
#[derive(Debug)]
pub struct Span(Box<Recorded>);

impl Span {
    /// Wraps a span that the tracer has begun.
    pub(super) fn new(recorded: Recorded) -> Self {
        Self(Box::new(recorded))
    }

    /// The identity of this span, with which another process or task can begin a child span.
    pub fn context(&self) -> TraceContext {
        TraceContext::of(self.0.span_context())
    }

    /// Changes the name of the span.
    pub fn rename(&mut self, name: String) {
        self.0.update_name(name);
    }

    /// Sets an attribute. The value must be a number or a fixed word of the services, never data of a user.
    pub fn set_attribute(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Records the error code of the answer. If `is_server_fault`, also marks the span as failed.
    pub fn record_refusal(&mut self, code: &'static str, is_server_fault: bool) {
        self.set_attribute("tidings.result", code);
        if is_server_fault {
            self.0.set_status(Status::error(code));
        }
    }

    /// Ends the span with `end` as its end time.
    pub fn end_at(mut self, end: SystemTime) {
        self.0.end_with_timestamp(end);
    }
}
