//! The bounded queue of spans that wait for the exporter, and the numbers of lost spans.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};

/// Spans that may wait to be exported; further ones are lost.
pub(super) const QUEUE_CAPACITY: usize = 4096;

static WAITING: AtomicUsize = AtomicUsize::new(0);
static LOST_FULL: AtomicU64 = AtomicU64::new(0);
static LOST_BY_COLLECTOR: AtomicU64 = AtomicU64::new(0);

/// Spans lost since the start, by cause: the queue was full (`full`), or the collector did not accept them (`away`).
pub fn spans_lost() -> [(&'static str, u64); 2] {
    [("full", LOST_FULL.load(Ordering::Relaxed)), ("away", LOST_BY_COLLECTOR.load(Ordering::Relaxed))]
}

/// Counts spans that left the queue to be exported.
pub(super) fn taken(spans: usize) {
    WAITING.fetch_sub(spans, Ordering::Relaxed);
}

pub(super) fn refused(spans: usize) {
    LOST_BY_COLLECTOR.fetch_add(spans as u64, Ordering::Relaxed);
}

/// Passes spans on only while there is space, because the inner processor would drop them without counting.
#[derive(Debug)]
pub(super) struct BoundedProcessor<P>(pub P);

impl<P: SpanProcessor> SpanProcessor for BoundedProcessor<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= QUEUE_CAPACITY {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            LOST_FULL.fetch_add(1, Ordering::Relaxed);
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
