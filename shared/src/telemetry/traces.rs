//! The span pipeline of a process: sampling, export and shutdown. If no collector is set, there is no pipeline, and
//! beginning a span costs one atomic read. Spans wait in a bounded queue, and are dropped if the queue is full. No
//! caller ever waits for the collector.

use std::{
    num::NonZeroU32,
    sync::{LazyLock, OnceLock, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span as Recorded,
        SpanExporter,
    },
};

use super::{
    TraceContext, current,
    span_queue::{BoundedProcessor, OutageLogger, QUEUE_CAPACITY},
};
use crate::version::{VERSION, commit};

/// Maximum number of spans in one export.
const MAX_EXPORT_BATCH: usize = 512;
/// How long spans are collected before they are exported.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// How long the shutdown waits for the export of the last spans.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of traces per second that a process continues because the context of a trusted caller asks for it.
/// Without the limit, a caller that samples every frame could fill the span queue.
const MAX_REMOTE_TRACES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

static REMOTE_TRACE_LIMITER: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| RateLimiter::direct(Quota::per_second(MAX_REMOTE_TRACES_PER_SECOND)));
static PIPELINE: OnceLock<SpanPipeline> = OnceLock::new();

/// Creates spans, and exports them in the background.
struct SpanPipeline {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// A trace is sampled if a random `u64` is below this threshold.
    sampling_threshold: u64,
    /// Whether all traces are sampled. The threshold alone would leave out one of 2^64.
    samples_all: bool,
    /// Whether the contexts of callers decide about sampling.
    trusts_callers: bool,
}

/// Starts the span pipeline, once per process. The connection to the collector runs on the current runtime. `ratio` is
/// the share of the messages and requests that are traced, 0 to 1. With `trusts_callers`, those with a trace context
/// follow the decision in it. `service` and `instance` are the resource attributes `service.name` and
/// `service.instance.id`.
pub fn start(
    exporter: impl SpanExporter + 'static,
    ratio: f64,
    trusts_callers: bool,
    service: &'static str,
    instance: &str,
) -> Result<(), String> {
    let config = BatchConfigBuilder::default()
        // Larger than `QUEUE_CAPACITY`, so that only `BoundedProcessor`, which counts lost spans, ever drops a span.
        .with_max_queue_size(2 * QUEUE_CAPACITY)
        .with_max_export_batch_size(MAX_EXPORT_BATCH)
        .with_scheduled_delay(EXPORT_EVERY)
        .build();
    let exporter = OutageLogger { exporter, failing: AtomicBool::new(false) };
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", service),
        KeyValue::new("service.instance.id", instance.to_owned()),
        KeyValue::new("service.version", VERSION),
        KeyValue::new("tidings.commit", commit()),
    ]);
    // `begin_trace` decides about sampling before it creates a span, so every created span is recorded.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.build())
        .with_span_processor(BoundedProcessor(processor))
        .build();
    let tracer = provider.tracer(service);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of all numbers")]
    let sampling_threshold = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let samples_all = ratio >= 1.0;
    let pipeline = SpanPipeline { provider, tracer, sampling_threshold, samples_all, trusts_callers };
    PIPELINE.set(pipeline).map_err(|_| "traces were started before".to_owned())
}

/// Exports the remaining spans and stops the pipeline. Takes about two seconds at most, even if the collector is down.
pub async fn stop() {
    let Some(pipeline) = PIPELINE.get() else { return };
    let provider = pipeline.provider.clone();
    // `shutdown_with_timeout` blocks its thread until the runtime has sent the remaining spans.
    let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(STOP_TIMEOUT)).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::debug!("the last spans may be lost");
    }
}

/// Begins a trace, or continues the trace of a caller's context; returns `None` if the trace is not sampled. The
/// context of a trusted caller decides whether its trace is sampled, but a process continues only 200 such traces per
/// second. Otherwise sampling is random, and a context is only a link of the new trace, because anybody may send one.
#[must_use]
pub fn begin_trace(name: &'static str, kind: SpanKind, remote: Option<TraceContext>) -> Option<Span> {
    let pipeline = PIPELINE.get()?;
    match remote {
        Some(remote) if pipeline.trusts_callers => {
            let is_continued = remote.sampled && REMOTE_TRACE_LIMITER.check().is_ok();
            if is_continued { child_of(name, kind, remote, None) } else { None }
        }
        _ if pipeline.samples_all || fastrand::u64(..) < pipeline.sampling_threshold => {
            let mut builder = SpanBuilder::from_name(name).with_kind(kind);
            builder.links = remote.map(|remote| vec![Link::with_context(remote.to_remote_span_context())]);
            Some(pipeline.start_span(builder, None))
        }
        _ => None,
    }
}

/// Begins a child of the span `parent`, which another task or process may have begun. `start` is the begin of the
/// child; `None` for the present time. Returns `None` if the parent is not sampled.
#[must_use]
pub fn child_of(
    name: &'static str,
    kind: SpanKind,
    parent: TraceContext,
    start: Option<SystemTime>,
) -> Option<Span> {
    let pipeline = PIPELINE.get().filter(|_| parent.sampled)?;
    let mut builder = SpanBuilder::from_name(name).with_kind(kind);
    builder.start_time = start;
    Some(pipeline.start_span(builder, Some(parent)))
}

/// Begins a child of the span of [`current`]; returns `None` if there is no such span.
#[must_use]
pub fn child(name: &'static str, kind: SpanKind) -> Option<Span> {
    child_of(name, kind, current()?, None)
}

/// A span of a sampled message or request. The span ends when this value is dropped.
#[derive(Debug)]
pub struct Span(Box<Recorded>);

impl Span {
    /// The identity of this span, with which another process or task can begin a child span.
    pub fn context(&self) -> TraceContext {
        TraceContext::of(self.0.span_context())
    }

    /// Replaces the name of the span.
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

    /// Ends the span at this time, instead of when it is dropped.
    pub fn end_at(mut self, end: SystemTime) {
        self.0.end_with_timestamp(end);
    }

    /// Begins a child of this span.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        child_of(name, kind, self.context(), None)
    }
}

impl SpanPipeline {
    fn start_span(&self, builder: SpanBuilder, parent: Option<TraceContext>) -> Span {
        let mut context = Context::new();
        if let Some(parent) = parent {
            context = context.with_remote_span_context(parent.to_remote_span_context());
        }
        Span(Box::new(self.tracer.build_with_context(builder, &context)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_is_recorded_without_an_endpoint() {
        let remote = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(begin_trace("receive", SpanKind::Server, remote).is_none());
        assert!(begin_trace("receive", SpanKind::Server, None).is_none());
    }
}
