//! The W3C trace context: the header `traceparent`, `00-<trace id>-<span id>-<flags>`. `tracestate` is ignored.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Length of a `traceparent` of version 00. Later versions may be longer, but not shorter.
const TRACEPARENT_CHARS: usize = 55;

/// The identity of a span: its trace id and span id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: TraceId,
    pub span: SpanId,
    /// Whether the sender of the context records this trace.
    pub sampled: bool,
}

impl TraceContext {
    /// Parses a `traceparent`; returns `None` if it is malformed. Callers ignore a malformed context without an error.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let later =
            bytes.len() > TRACEPARENT_CHARS && bytes[TRACEPARENT_CHARS] == b'-' && !text.starts_with("00-");
        if (bytes.len() != TRACEPARENT_CHARS && !later) || !text.is_ascii() || text.starts_with("ff") {
            return None;
        }
        let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text[..TRACEPARENT_CHARS].split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version, trace, span, flags].map(str::len);
        if lengths != [2, 32, 16, 2] || ![version, trace, span, flags].into_iter().all(hex) {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self { trace, span, sampled })
    }

    /// The identity of a span of this process.
    pub(super) fn of(context: &SpanContext) -> Self {
        Self { trace: context.trace_id(), span: context.span_id(), sampled: context.is_sampled() }
    }

    /// Converts the context into one that marks its span as a span of another process.
    pub(super) fn to_remote_span_context(self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        SpanContext::new(self.trace, self.span, flags, true, TraceState::NONE)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn context_round_trips() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!TraceContext::parse(&unsampled).unwrap().sampled);
        let later = format!("cc{}-what-comes-later", &GOOD[2..]);
        assert_eq!(TraceContext::parse(&later).unwrap().trace, context.trace);
        assert!(
            TraceContext::parse(&GOOD.replace("-01", "-09")).unwrap().sampled,
            "other flags are not ours"
        );
    }

    #[test]
    fn malformed_context_is_none() {
        let bad = [
            String::new(),
            "nonsense".to_owned(),
            GOOD.to_uppercase(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("{GOOD}x"),
            format!("ff{}", &GOOD[2..]),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD.replace("4bf9", "4bé"),
            GOOD.replace("4bf9", "+bf9"),
            format!("00-{}-01", &GOOD[3..52].replace('-', "0")),
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }
}
