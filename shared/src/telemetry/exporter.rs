//! Wraps the exporter of spans, and logs an outage of the collector once and not at every attempt.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

use super::span_queue;

/// An exporter that logs the first failure of an outage, and the first success after it.
#[derive(Debug)]
pub(super) struct OutageLogger<E> {
    pub exporter: E,
    pub failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for OutageLogger<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        span_queue::record_dequeued(spans);
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                let lost: u64 = span_queue::spans_lost().iter().map(|(_, spans)| spans).sum();
                tracing::info!(lost, "spans are exported again; `lost` counts lost spans since the start");
            }
            Ok(()) => {}
            Err(error) => {
                span_queue::record_export_failure(spans);
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
