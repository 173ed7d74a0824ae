//! The exporter to the collector, whose silence is told once, and not at every attempt.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

use super::waiting;

/// See the module.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    away: AtomicBool,
}

impl<E> Watched<E> {
    pub fn new(exporter: E) -> Self {
        Self { exporter, away: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        waiting::taken(spans);
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) if self.away.swap(false, Ordering::Relaxed) => {
                let lost: u64 = waiting::spans_lost().iter().map(|(_, spans)| spans).sum();
                tracing::info!(lost, "spans are exported again; so many were lost since the start");
            }
            Ok(()) => {}
            Err(error) => {
                waiting::refused(spans);
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "spans cannot be exported: until that is over they are lost");
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
