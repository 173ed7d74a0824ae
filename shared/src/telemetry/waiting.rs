//! The bounded place in which spans wait for the exporter, and how many were lost before or behind it.

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

/// Spans that may wait to be exported; what comes then is lost.
pub(super) const QUEUE: usize = 4096;

static WAITING: AtomicUsize = AtomicUsize::new(0);
static LOST_FULL: AtomicU64 = AtomicU64::new(0);
static LOST_AWAY: AtomicU64 = AtomicU64::new(0);

/// Spans lost since the start, by cause: too many waited (`full`), or the collector did not take them (`away`).
#[must_use]
pub fn spans_lost() -> [(&'static str, u64); 2] {
    [("full", LOST_FULL.load(Ordering::Relaxed)), ("away", LOST_AWAY.load(Ordering::Relaxed))]
}

/// So many were taken out to be exported.
pub(super) fn taken(spans: usize) {
    WAITING.fetch_sub(spans, Ordering::Relaxed);
}

/// So many were taken out, and the collector did not take them.
pub(super) fn refused(spans: usize) {
    LOST_AWAY.fetch_add(spans as u64, Ordering::Relaxed);
}

/// Lets through what has room: the processor behind it drops without a word, so it is never given more than it holds.
#[derive(Debug)]
pub(super) struct Bounded<P>(pub P);

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= QUEUE {
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
