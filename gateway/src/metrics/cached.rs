//! Counters of the hot paths with resolved labels. Counting is an atomic add, without a lock or a label lookup.

use tidings_shared::{
    error::ErrorCode,
    log::RoundTrip,
    prometheus::{Histogram, IntCounter},
    protocol::{Command, names::CLIENT_FRAMES},
};

use super::Metrics;

const INVALID_LABEL: &str = "invalid";
const TYPE_COUNT: usize = CLIENT_FRAMES.len() + 1;
const CODE_COUNT: usize = ErrorCode::ALL.len();
const ROUND_TRIP_COUNT: usize = RoundTrip::ALL.len();

/// Counters of the hot paths, one for each label value.
#[derive(Clone)]
pub struct CachedCounters {
    /// Frame counter and latency histogram by type. The last entry is for frames that cannot be parsed.
    types: [(IntCounter, Histogram); TYPE_COUNT],
    errors: [IntCounter; CODE_COUNT],
    accepted_sends: IntCounter,
    duplicate_sends: IntCounter,
    /// Messages that were refused because their connection has too many unanswered commands, which is no server fault.
    pub too_many: IntCounter,
    refused_sends: [IntCounter; CODE_COUNT],
}

impl CachedCounters {
    /// Resolves the labels of `metrics`, and keeps one counter for each label value.
    pub fn new(metrics: &Metrics) -> Self {
        let codes = |vec: &tidings_shared::prometheus::IntCounterVec| {
            ErrorCode::ALL.map(|code| vec.with_label_values(&[code.as_str()]))
        };
        Self {
            types: std::array::from_fn(|index| {
                let label = CLIENT_FRAMES.get(index).unwrap_or(&INVALID_LABEL);
                let frames = metrics.frames.with_label_values(&[label]);
                (frames, metrics.command_seconds.with_label_values(&[label]))
            }),
            errors: codes(&metrics.errors),
            accepted_sends: metrics.sends.with_label_values(&["accepted"]),
            duplicate_sends: metrics.sends.with_label_values(&["duplicate"]),
            too_many: metrics.sends.with_label_values(&["too_many"]),
            refused_sends: codes(&metrics.sends),
        }
    }

    /// Counts a frame. Returns the histogram for the time from the frame to its answer.
    pub fn count_frame(&self, command: Option<&Command>) -> Histogram {
        let (frames, seconds) = &self.types[command.map_or(TYPE_COUNT - 1, Command::index)];
        frames.inc();
        seconds.clone()
    }

    pub fn count_error(&self, code: ErrorCode) {
        count_code(&self.errors, code);
    }

    pub fn count_accepted_send(&self, duplicate: bool) {
        if duplicate { self.duplicate_sends.inc() } else { self.accepted_sends.inc() }
    }

    pub fn count_refused_send(&self, code: ErrorCode) {
        count_code(&self.refused_sends, code);
    }
}

/// Adds one to the counter of a code. Ignores a code without a counter, because a missing counter must not end a
/// session.
fn count_code(counters: &[IntCounter; CODE_COUNT], code: ErrorCode) {
    if let Some(counter) = counters.get(code as usize) {
        counter.inc();
    }
}

/// Returns a callback that records the time of round trips to Redis.
pub fn redis_timing_recorder(
    metrics: &Metrics,
) -> impl Fn(RoundTrip, std::time::Duration) + Send + Sync + 'static {
    let trips: [Histogram; ROUND_TRIP_COUNT] =
        RoundTrip::ALL.map(|trip| metrics.redis_seconds.with_label_values(&[trip.as_str()]));
    move |trip, took| {
        if let Some(seconds) = trips.get(trip as usize) {
            seconds.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_has_its_own_counter() {
        let metrics = Metrics::new();
        let counters = CachedCounters::new(&metrics);
        for (index, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, index);
            counters.count_refused_send(code);
            counters.count_error(code);
            assert_eq!(metrics.sends.with_label_values(&[code.as_str()]).get(), 1);
            assert_eq!(metrics.errors.with_label_values(&[code.as_str()]).get(), 1);
        }
        counters.count_accepted_send(true);
        counters.count_accepted_send(false);
        assert_eq!(metrics.sends.with_label_values(&["duplicate"]).get(), 1);
        assert_eq!(metrics.sends.with_label_values(&["accepted"]).get(), 1);
        counters.count_frame(Some(&Command::Ping)).observe(0.1);
        counters.count_frame(None).observe(0.1);
        for label in ["ping", "invalid"] {
            assert_eq!(metrics.frames.with_label_values(&[label]).get(), 1);
            assert_eq!(metrics.command_seconds.with_label_values(&[label]).get_sample_count(), 1);
        }
        let record = redis_timing_recorder(&metrics);
        for (index, trip) in RoundTrip::ALL.into_iter().enumerate() {
            assert_eq!(trip as usize, index);
            record(trip, std::time::Duration::from_millis(1));
            assert_eq!(metrics.redis_seconds.with_label_values(&[trip.as_str()]).get_sample_count(), 1);
        }
    }
}
