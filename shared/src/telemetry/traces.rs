//! The span pipeline of a process: sampling, export and shutdown. Without an endpoint there is no pipeline, and
//! beginning a span costs one atomic read. Spans wait in a bounded queue and are dropped if it is full; no caller ever
//! waits for the collector.

use std::{
    num::NonZeroU32,
    sync::{LazyLock, OnceLock, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanKind, TraceContextExt, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};

use super::{
    Span, TraceContext, current,
    exporter::OutageLogger,
    otlp::{self, TraceSettings},
    span_queue::{BoundedProcessor, QUEUE_CAPACITY},
};
use crate::version::{VERSION, commit};

const MAX_BATCH: usize = 512;
/// How long spans are collected before they are exported.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// How long the shutdown waits for the export of the last spans.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Sampled contexts of clients that a process follows in one second, so that a client that samples every frame cannot
/// fill the span queue.
const REMOTE_TRACES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

static REMOTE_TRACES: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| RateLimiter::direct(Quota::per_second(REMOTE_TRACES_PER_SECOND)));
static PIPELINE: OnceLock<Pipeline> = OnceLock::new();

struct Pipeline {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// A trace is sampled if its random number is below this.
    threshold: u64,
    always: bool,
}

/// Starts the pipeline, once per process. Call this on the runtime that shall drive the connection to the collector.
pub fn start(settings: &TraceSettings<'_>) -> Result<(), String> {
    let exporter = otlp::exporter(settings)?;
    let config = BatchConfigBuilder::default()
        // Larger than our own queue, so that the processor never drops a span without counting it.
        .with_max_queue_size(2 * QUEUE_CAPACITY)
        .with_max_export_batch_size(MAX_BATCH)
        .with_scheduled_delay(EXPORT_EVERY)
        .build();
    let exporter = OutageLogger { exporter, failing: AtomicBool::new(false) };
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", settings.service),
        KeyValue::new("service.instance.id", settings.instance.to_owned()),
        KeyValue::new("service.version", VERSION),
        KeyValue::new("tidings.commit", commit()),
    ]);
    // `begin` decides about sampling before it creates a span, so every created span is recorded.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.build())
        .with_span_processor(BoundedProcessor(processor))
        .build();
    let tracer = provider.tracer(settings.service);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of all numbers")]
    let threshold = (settings.ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let pipeline = Pipeline { provider, tracer, threshold, always: settings.ratio >= 1.0 };
    PIPELINE.set(pipeline).map_err(|_| "traces were started before".to_owned())
}

/// Exports the remaining spans and stops the pipeline. Takes about two seconds at most, even if the collector is down.
pub async fn stop() {
    let Some(pipeline) = PIPELINE.get() else { return };
    let provider = pipeline.provider.clone();
    // `shutdown` blocks until this runtime has sent the remaining spans, so it must not block this task.
    let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(STOP_TIMEOUT)).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::debug!("the last spans may be lost");
    }
}

/// Begins a trace, or continues the trace of a remote context. A remote context decides whether its trace is sampled,
/// but a process follows only a limited number of them per second. Without a context sampling is random.
#[must_use]
pub fn begin(name: &'static str, kind: SpanKind, remote: Option<TraceContext>) -> Option<Span> {
    let pipeline = PIPELINE.get()?;
    match remote {
        Some(remote) if remote.sampled && REMOTE_TRACES.check().is_ok() => child_of(name, kind, remote, None),
        Some(_) => None,
        None if pipeline.always || fastrand::u64(..) < pipeline.threshold => {
            Some(pipeline.span(name, kind, None, None))
        }
        None => None,
    }
}

/// Begins a child of a span that another part of the system has begun. The child begins now or at `start`.
#[must_use]
pub fn child_of(
    name: &'static str,
    kind: SpanKind,
    parent: TraceContext,
    start: Option<SystemTime>,
) -> Option<Span> {
    let pipeline = PIPELINE.get().filter(|_| parent.sampled)?;
    Some(pipeline.span(name, kind, Some(parent), start))
}

/// Begins a child of the current task's span.
#[must_use]
pub fn child(name: &'static str, kind: SpanKind) -> Option<Span> {
    child_of(name, kind, current()?, None)
}

impl Span {
    /// Starts a child span.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        child_of(name, kind, self.context(), None)
    }
}

impl Pipeline {
    fn span(
        &self,
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceContext>,
        start: Option<SystemTime>,
    ) -> Span {
        let mut builder = SpanBuilder::from_name(name).with_kind(kind);
        builder.start_time = start;
        let mut context = Context::new();
        if let Some(parent) = parent {
            context = context.with_remote_span_context(parent.remote());
        }
        Span::new(self.tracer.build_with_context(builder, &context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_is_recorded_without_an_endpoint() {
        let remote = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(begin("receive", SpanKind::Server, remote).is_none());
        assert!(begin("receive", SpanKind::Server, None).is_none());
    }
}
