//! Limits the number of spans that wait to be exported, counts lost spans, and logs outages of the collector.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

/// Maximum number of spans that wait to be exported; further spans are lost.
pub(super) const QUEUE_CAPACITY: usize = 4096;

static WAITING_SPANS: AtomicUsize = AtomicUsize::new(0);
static LOST_TO_FULL_QUEUE: AtomicU64 = AtomicU64::new(0);
static LOST_IN_EXPORT: AtomicU64 = AtomicU64::new(0);

/// Number of spans lost since the start, by cause: the queue was full (`full`), or an export failed (`away`).
pub fn spans_lost() -> [(&'static str, u64); 2] {
    [("full", LOST_TO_FULL_QUEUE.load(Ordering::Relaxed)), ("away", LOST_IN_EXPORT.load(Ordering::Relaxed))]
}

/// Passes spans to the inner processor while fewer than [`QUEUE_CAPACITY`] wait, and counts further spans as lost. The
/// inner processor would drop spans without counting them.
#[derive(Debug)]
pub(super) struct BoundedProcessor<P>(pub P);

impl<P: SpanProcessor> SpanProcessor for BoundedProcessor<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if WAITING_SPANS.fetch_add(1, Ordering::Relaxed) >= QUEUE_CAPACITY {
            WAITING_SPANS.fetch_sub(1, Ordering::Relaxed);
            LOST_TO_FULL_QUEUE.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// An exporter that logs the first failure of an outage, and the first success after it.
#[derive(Debug)]
pub(super) struct OutageLogger<E> {
    pub exporter: E,
    pub failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for OutageLogger<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        WAITING_SPANS.fetch_sub(spans, Ordering::Relaxed);
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                let lost: u64 = spans_lost().iter().map(|(_, spans)| spans).sum();
                tracing::info!(lost, "spans are exported again; `lost` counts lost spans since the start");
            }
            Ok(()) => {}
            Err(error) => {
                LOST_IN_EXPORT.fetch_add(spans as u64, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "spans cannot be exported and are lost until the collector answers again");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
