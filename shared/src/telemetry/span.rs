//! A span that is recorded. Unsampled messages and requests have no span.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue, Value,
    trace::{Span as _, Status},
};
use opentelemetry_sdk::trace::Span as Recorded;

use super::TraceContext;

/// A recorded span. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Box<Recorded>);

impl Span {
    pub(super) fn new(recorded: Recorded) -> Self {
        Self(Box::new(recorded))
    }

    /// The context that makes this span the parent of another.
    pub fn context(&self) -> TraceContext {
        TraceContext::of(self.0.span_context())
    }

    /// Changes the name of the span.
    pub fn rename(&mut self, name: String) {
        self.0.update_name(name);
    }

    /// Sets an attribute. Its value must be a number or a fixed word of the services, never data of a user.
    pub fn note(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Records the error code of the answer; `fault`: the cause is the server.
    pub fn refused(&mut self, code: &'static str, fault: bool) {
        self.note("tidings.result", code);
        if fault {
            self.0.set_status(Status::error(code));
        }
    }

    /// Ends the span at this time.
    pub fn end_at(mut self, end: SystemTime) {
        self.0.end_with_timestamp(end);
    }
}
