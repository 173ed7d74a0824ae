//! The one pipeline of spans of a process: who is sampled, where spans go, and their end. Without an endpoint there is
//! none, and asking for a span costs a look at one word. Spans wait in a bounded queue and are lost where it is full;
//! nobody ever waits for the collector.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

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
    exporter::Watched,
    otlp, strangers,
    waiting::{Bounded, QUEUE},
};
use crate::version::{VERSION, commit};

const BATCH: usize = 512;
/// How long spans gather.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last spans.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

static PIPELINE: OnceLock<Pipeline> = OnceLock::new();

struct Pipeline {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// A random number below this is sampled.
    below: u64,
    always: bool,
}

/// Where spans go, and how many.
#[derive(Debug, Clone)]
pub struct TraceSettings<'a> {
    /// Of an OTLP collector over gRPC, `http://…` or `https://…`.
    pub endpoint: &'a str,
    /// Over TLS.
    pub tls: bool,
    /// PEM of the authorities that may have signed its certificate; `None`: those that browsers trust.
    pub authorities: Option<Vec<u8>>,
    /// Share of the messages and requests without a context of their own that are traced, 0 to 1.
    pub ratio: f64,
    /// `service.name`.
    pub service: &'static str,
    /// `service.instance.id`.
    pub instance: &'a str,
}

/// Starts the pipeline. Call it on the runtime that is to drive the connection to the collector; counts once.
///
/// # Errors
/// When the endpoint is no address.
pub fn start(settings: &TraceSettings<'_>) -> Result<(), String> {
    let exporter = otlp::exporter(settings)?;
    let config = BatchConfigBuilder::default()
        // More than are let through: it never has to drop one.
        .with_max_queue_size(2 * QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(EXPORT_EVERY)
        .build();
    let processor = BatchSpanProcessor::builder(Watched::new(exporter)).with_batch_config(config).build();
    let processor = Bounded(processor);
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", settings.service),
        KeyValue::new("service.instance.id", settings.instance.to_owned()),
        KeyValue::new("service.version", VERSION),
        KeyValue::new("tidings.commit", commit()),
    ]);
    // Who is sampled is decided before a span is made.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.build())
        .with_span_processor(processor)
        .build();
    let tracer = provider.tracer(settings.service);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of all numbers")]
    let below = (settings.ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let pipeline = Pipeline { provider, tracer, below, always: settings.ratio >= 1.0 };
    PIPELINE.set(pipeline).map_err(|_| "traces were started before".to_owned())
}

/// Exports what is left, and ends. Takes little more than two seconds however silent the collector is.
pub async fn stop() {
    let Some(pipeline) = PIPELINE.get() else { return };
    let provider = pipeline.provider.clone();
    // It blocks until the runtime, which is this one, has sent what is left.
    let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(STOP_PATIENCE)).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::debug!("the last spans may be lost");
    }
}

/// Begins a trace, or goes on with the one that came along: a context that came is followed in whether it is sampled;
/// without one chance decides. Of contexts that came no more than some hundred a second are followed.
#[must_use]
pub fn begin(name: &'static str, kind: SpanKind, came: Option<TraceContext>) -> Option<Span> {
    let pipeline = PIPELINE.get()?;
    match came {
        Some(came) if came.sampled && strangers::may_come() => follow(name, kind, came, None),
        Some(_) => None,
        None if pipeline.always || random() < pipeline.below => Some(pipeline.span(name, kind, None, None)),
        None => None,
    }
}

/// Begins a span below one of another part of the system, now or at `start`.
#[must_use]
pub fn follow(
    name: &'static str,
    kind: SpanKind,
    parent: TraceContext,
    start: Option<SystemTime>,
) -> Option<Span> {
    let pipeline = PIPELINE.get().filter(|_| parent.sampled)?;
    Some(pipeline.span(name, kind, Some(parent), start))
}

/// Begins a part of what this task works on.
#[must_use]
pub fn part(name: &'static str, kind: SpanKind) -> Option<Span> {
    follow(name, kind, current()?, None)
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

/// A number that nobody depends on: xorshift, seeded once for each thread.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish() | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_endpoint_nothing_is_recorded() {
        let came = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(begin("receive", SpanKind::Server, came).is_none());
        assert!(begin("receive", SpanKind::Server, None).is_none());
    }

    #[test]
    fn chance_takes_about_the_share_that_it_is_told() {
        let below = u64::MAX / 100;
        let taken = (0..100_000).filter(|_| random() < below).count();
        assert!((500..2000).contains(&taken), "{taken} of 100,000 at one in a hundred");
    }
}
