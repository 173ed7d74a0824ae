//! The results of the load generator in one phase, and how busy it was.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency, in microseconds; longer ones count as this.
const LONGEST_US: u64 = 120_000_000;
/// Above this share of busy time the generator itself may limit the figures.
const BUSY: f64 = 0.85;

/// Received frames.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryCounts {
    pub delivered: u64,
    pub acked: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Messages that were sent.
    pub sent: u64,
    /// Expected deliveries: one for each client in the room of a message.
    pub expected: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Sends that were answered.
    pub acked: u64,
    /// Deliveries and acks during the work; rates are computed from these.
    pub in_time: DeliveryCounts,
    /// Refusals, except those because of overload.
    pub refused: u64,
    /// Sends that an overloaded server refused; they count as never sent, and the generator backed off.
    pub overloads: u64,
    /// Deliveries that these sends would have caused.
    pub turned_away: u64,
    /// The first refusal.
    pub refusal: Option<String>,
    /// Deliveries out of order or twice.
    pub disordered: u64,
    /// Other frames.
    pub others: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// Connections that ended, by close code (0: without one).
    pub closed: BTreeMap<u16, u64>,
    /// Time from when a message was due to its delivery, in microseconds.
    pub delivery: Histogram<u64>,
    /// Time from when a message was due to its ack, in microseconds.
    pub ack: Histogram<u64>,
    /// Duration of the phase.
    pub wall: Duration,
    /// Time in which the generator did not wait.
    pub busy: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that hdrhistogram allows");
        Tally {
            sent: 0,
            expected: 0,
            delivered: 0,
            acked: 0,
            in_time: DeliveryCounts::default(),
            refused: 0,
            overloads: 0,
            turned_away: 0,
            refusal: None,
            disordered: 0,
            others: 0,
            bytes: 0,
            closed: BTreeMap::new(),
            delivery: histogram(),
            ack: histogram(),
            wall: Duration::ZERO,
            busy: Duration::ZERO,
        }
    }
}

impl Tally {
    /// A quantile of the delivery latency, in milliseconds.
    #[must_use]
    pub fn delivery_ms(&self, quantile: f64) -> f64 {
        self.delivery.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// A quantile of the ack latency, in milliseconds.
    #[must_use]
    pub fn ack_ms(&self, quantile: f64) -> f64 {
        self.ack.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Share of busy time.
    #[must_use]
    pub fn busy_share(&self) -> f64 {
        self.busy.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// Whether the generator may have limited these figures.
    #[must_use]
    pub fn is_limited_by_us(&self) -> bool {
        self.busy_share() > BUSY
    }

    pub(super) fn record(histogram: &mut Histogram<u64>, microseconds: u64) {
        histogram.saturating_record(microseconds.clamp(1, LONGEST_US));
    }
}
