//! The report of `./dev play`. Its JSON keys are documented and must not change.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::verdict::Verdict;

/// The report of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Number of messages that were sent and stored.
    pub messages: u64,
    pub rooms: usize,
    /// Number of different users.
    pub people: usize,
    /// Number of copies that all listeners together held at the end.
    pub deliveries: u64,
    /// See [`Verdict`].
    pub missing: u64,
    /// See [`Verdict`].
    pub duplicated: u64,
    /// See [`Verdict`].
    pub reordered: u64,
    /// See [`Verdict`].
    pub history_mismatch: u64,
    /// Time from the first attempt to the answer `stored`.
    pub ack_p50_ms: f64,
    /// Time from the first attempt to the answer `stored`.
    pub ack_p99_ms: f64,
    /// Time from the first attempt to the delivery to a listener.
    pub delivery_p50_ms: f64,
    /// Time from the first attempt to the delivery to a listener.
    pub delivery_p99_ms: f64,
    /// Time from the start of the conversation until all copies had arrived.
    pub seconds: f64,
}

impl Report {
    /// Creates the report. The histograms are in microseconds.
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
            ack_p50_ms: quantile_ms(acks, 0.5),
            ack_p99_ms: quantile_ms(acks, 0.99),
            delivery_p50_ms: quantile_ms(deliveries, 0.5),
            delivery_p99_ms: quantile_ms(deliveries, 0.99),
            seconds: (seconds * 1000.0).round() / 1000.0,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^52")]
fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
