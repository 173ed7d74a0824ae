//! What a command's answer needs: the `ref` to answer under, and what is told of the way to it. Goes along with the
//! command through every effect and job; when it is dropped the command is answered, or will not be.

use std::{cell::RefCell, fmt, time::Instant};

use tidings_shared::{
    error::{ErrorCode, Refusal},
    prometheus::Histogram,
    telemetry::{self, Span, SpanKind, TraceContext},
};

/// See the module.
pub struct Asked {
    reference: Option<String>,
    /// It is a `message:send`.
    pub sends: bool,
    /// When its frame was read.
    pub at: Instant,
    seconds: Option<Histogram>,
    /// From its frame to its answer, when it is traced.
    span: Option<Box<RefCell<Span>>>,
}

impl Asked {
    /// Of a command that came just now.
    #[must_use]
    pub fn new(reference: Option<String>, sends: bool, seconds: Histogram) -> Self {
        let mut asked = Self::untold(reference);
        (asked.sends, asked.seconds) = (sends, Some(seconds));
        asked
    }

    /// Traces it, in the trace that came along with it, if it is sampled.
    #[must_use]
    pub fn traced(mut self, name: &'static str, came: Option<TraceContext>) -> Self {
        if let Some(mut span) = telemetry::begin("receive", SpanKind::Server, came) {
            span.note("tidings.command", name);
            self.span = Some(Box::new(RefCell::new(span)));
        }
        self
    }

    /// The span from its frame to its answer, when it is traced.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.span.as_ref().map(|span| span.borrow().context())
    }

    /// Begins a part of it, when it is traced.
    #[must_use]
    pub fn part(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        self.span.as_ref()?.borrow().part(name, kind)
    }

    /// Notes in its span that it is refused.
    pub fn refused(&self, refusal: &Refusal) {
        if let Some(span) = &self.span {
            let fault =
                matches!(refusal.code, ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::Internal);
            span.borrow_mut().refused(refusal.code.as_str(), fault);
        }
    }

    /// The `ref` to answer under.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Nothing asked for it, or nothing is told of it.
    #[must_use]
    pub fn untold(reference: Option<String>) -> Self {
        Self { reference, sends: false, at: Instant::now(), seconds: None, span: None }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(seconds) = &self.seconds {
            seconds.observe(self.at.elapsed().as_secs_f64());
        }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.reference).finish()
    }
}
