//! The results of the load generator in one phase, and its busy time.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is recorded, in microseconds. Longer latencies are recorded as this one.
const MAX_LATENCY_US: u64 = 120_000_000;
/// If the generator's share of busy time is higher, the generator itself may limit the figures.
const MAX_BUSY_SHARE: f64 = 0.85;

/// Numbers of deliveries and acks.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryCounts {
    pub delivered: u64,
    pub acked: u64,
}

/// The results of one phase.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Messages that were sent.
    pub sent: u64,
    /// Expected deliveries: one for each client in the room of a message.
    pub expected: u64,
    /// Deliveries that came.
    pub delivered: u64,
    /// Number of acks.
    pub acked: u64,
    /// Deliveries and acks during the work; rates are computed from these.
    pub in_time: DeliveryCounts,
    /// Refusals, except those because of overload.
    pub refused: u64,
    /// Sends that an overloaded server refused and after which the generator backed off. They count as never sent.
    pub overload_refusals: u64,
    /// Sends of a round that were repeated, because they were refused or not answered.
    pub repeated: u64,
    /// Deliveries that are not expected because an overloaded server refused the messages.
    pub cancelled_deliveries: u64,
    /// The first refusal.
    pub refusal: Option<String>,
    /// Deliveries that came out of order or twice.
    pub out_of_order: u64,
    /// Payloads that are neither deliveries, acks nor errors.
    pub other_frames: u64,
    /// Received bytes.
    pub bytes: u64,
    /// Connections that ended, by close code; 0 if the connection ended without one.
    pub closed: BTreeMap<u16, u64>,
    /// Time from when a message was due to its delivery, in microseconds.
    pub delivery: Histogram<u64>,
    /// Time from when a message was due to its ack, in microseconds.
    pub ack: Histogram<u64>,
    /// Duration of the phase, without the wait for frames that come late.
    pub wall: Duration,
    /// Part of `wall` in which the generator did not wait for sockets.
    pub busy: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("bounds that hdrhistogram allows");
        Tally {
            sent: 0,
            expected: 0,
            delivered: 0,
            acked: 0,
            in_time: DeliveryCounts::default(),
            refused: 0,
            overload_refusals: 0,
            repeated: 0,
            cancelled_deliveries: 0,
            refusal: None,
            out_of_order: 0,
            other_frames: 0,
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

    /// Sends that were refused or not answered.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.sent.saturating_sub(self.acked)
    }

    /// Connections that ended.
    #[must_use]
    pub fn closed_count(&self) -> u64 {
        self.closed.values().sum()
    }

    /// The share of busy time in the duration of the phase.
    #[must_use]
    pub fn busy_share(&self) -> f64 {
        self.busy.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// Whether the generator may have limited these figures.
    #[must_use]
    pub fn is_generator_bound(&self) -> bool {
        self.busy_share() > MAX_BUSY_SHARE
    }

    pub(super) fn record_latency(histogram: &mut Histogram<u64>, microseconds: u64) {
        histogram.saturating_record(microseconds.clamp(1, MAX_LATENCY_US));
    }
}
