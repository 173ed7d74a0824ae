//! The report of `./dev play`, exactly with the documented JSON keys.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::verdict::Verdict;

/// The documented keys.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Sent and stored.
    pub messages: u64,
    /// Rooms.
    pub rooms: usize,
    /// Different people.
    pub people: usize,
    /// Messages held by listeners.
    pub deliveries: u64,
    /// See [`Verdict`].
    pub missing: u64,
    /// See [`Verdict`].
    pub duplicated: u64,
    /// See [`Verdict`].
    pub reordered: u64,
    /// See [`Verdict`].
    pub history_mismatch: u64,
    /// From the first attempt to `stored`.
    pub ack_p50_ms: f64,
    /// From the first attempt to `stored`.
    pub ack_p99_ms: f64,
    /// From the first attempt to a listener.
    pub delivery_p50_ms: f64,
    /// From the first attempt to a listener.
    pub delivery_p99_ms: f64,
    /// From the first message to the last copy.
    pub seconds: f64,
}

impl Report {
    /// Makes the report; the histograms are in microseconds.
    pub fn new(
        (messages, rooms, people): (u64, usize, usize),
        verdict: &Verdict,
        acks: &Histogram<u64>,
        deliveries: &Histogram<u64>,
        seconds: f64,
    ) -> Report {
        Report {
            messages,
            rooms,
            people,
            deliveries: verdict.deliveries,
            missing: verdict.missing,
            duplicated: verdict.duplicated,
            reordered: verdict.reordered,
            history_mismatch: verdict.history_mismatch,
            ack_p50_ms: milliseconds(acks, 0.5),
            ack_p99_ms: milliseconds(acks, 0.99),
            delivery_p50_ms: milliseconds(deliveries, 0.5),
            delivery_p99_ms: milliseconds(deliveries, 0.99),
            seconds: (seconds * 1000.0).round() / 1000.0,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^52")]
fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
