//! A span that is being recorded. There is none for what is not sampled.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue, Value,
    trace::{Span as _, SpanKind, Status},
};
use opentelemetry_sdk::trace::Span as Recorded;

use super::{TraceContext, traces};

/// See the module. Ends when it is dropped.
#[derive(Debug)]
pub struct Span(Box<Recorded>);

impl Span {
    pub(super) fn new(recorded: Recorded) -> Self {
        Self(Box::new(recorded))
    }

    /// What names this span as a parent.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        TraceContext::of(self.0.span_context())
    }

    /// A part of it that begins now.
    #[must_use]
    pub fn part(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        traces::follow(name, kind, self.context(), None)
    }

    /// Calls it by what is known of it only now.
    pub fn rename(&mut self, name: String) {
        self.0.update_name(name);
    }

    /// Notes something about it: numbers and words of ours, nothing that a person sent.
    pub fn note(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Says how it was answered, by the code of the error; `fault`: that is the server's.
    pub fn refused(&mut self, code: &'static str, fault: bool) {
        self.note("tidings.result", code);
        if fault {
            self.0.set_status(Status::error(code));
        }
    }

    /// Ends it as of then.
    pub fn end_at(mut self, end: SystemTime) {
        self.0.end_with_timestamp(end);
    }
}
