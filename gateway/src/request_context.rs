//! The context of one command: the `ref` of its answer, its start time and its trace span. The context is passed with
//! the command through every effect and job. It is dropped when the command is answered, or when no answer will follow.

use std::{cell::RefCell, fmt, time::Instant};

use tidings_shared::{
    error::{ErrorCode, Refusal},
    prometheus::Histogram,
    telemetry::{self, Span, SpanKind, TraceContext},
};

/// The context of one command. Records the latency of the command when it is dropped.
pub struct RequestContext {
    reference: Option<String>,
    /// Whether the command is a `message:send`, whose refusals are counted.
    pub is_send: bool,
    pub received_at: Instant,
    latency: Option<Histogram>,
    /// The span from the frame to the answer, if the command is traced.
    span: Option<Box<RefCell<Span>>>,
}

impl RequestContext {
    /// Creates the context of a command that was just read. `latency` gets the time until the context is dropped.
    pub fn new(reference: Option<String>, is_send: bool, latency: Histogram) -> Self {
        let mut context = Self::unobserved(reference);
        (context.is_send, context.latency) = (is_send, Some(latency));
        context
    }

    /// Begins the command's span if the command is sampled. Without a `parent`, the span begins a new trace.
    #[must_use]
    pub fn with_span(mut self, name: &'static str, parent: Option<TraceContext>) -> Self {
        if let Some(mut span) = telemetry::begin_trace("receive", SpanKind::Server, parent) {
            span.set_attribute("tidings.command", name);
            self.span = Some(Box::new(RefCell::new(span)));
        }
        self
    }

    /// The context of the command's span, if the command is traced.
    pub fn trace(&self) -> Option<TraceContext> {
        self.span.as_ref().map(|span| span.borrow().context())
    }

    /// Begins a child span, if the command is traced.
    #[must_use]
    pub fn child_span(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        self.span.as_ref()?.borrow().child(name, kind)
    }

    /// Records in the span that the command is refused.
    pub fn record_refusal(&self, refusal: &Refusal) {
        if let Some(span) = &self.span {
            let server_fault =
                matches!(refusal.code, ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::Internal);
            span.borrow_mut().record_refusal(refusal.code.as_str(), server_fault);
        }
    }

    /// The `ref` of the command, which the answer repeats.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// A context without metrics and without a trace.
    pub fn unobserved(reference: Option<String>) -> Self {
        Self { reference, is_send: false, received_at: Instant::now(), latency: None, span: None }
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if let Some(latency) = &self.latency {
            latency.observe(self.received_at.elapsed().as_secs_f64());
        }
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestContext").field(&self.reference).finish()
    }
}
