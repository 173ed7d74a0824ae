//! Metrics of the hot paths, their labels resolved once: counting is an atomic add, with no lock and no search.

use tidings_shared::{
    error::ErrorCode,
    log::Step,
    prometheus::{Histogram, IntCounter},
    protocol::{Command, names::CLIENT_FRAMES},
};

use super::Metrics;

/// Label of what cannot be read as a command.
const INVALID: &str = "invalid";
const TYPES: usize = CLIENT_FRAMES.len() + 1;
const CODES: usize = ErrorCode::ALL.len();
const STEPS: usize = Step::ALL.len();

/// See the module.
#[derive(Clone)]
pub struct Hot {
    /// Frames and the time to their answers, by type; the last is of what cannot be read.
    types: [(IntCounter, Histogram); TYPES],
    errors: [IntCounter; CODES],
    accepted: IntCounter,
    duplicate: IntCounter,
    too_many: IntCounter,
    refused: [IntCounter; CODES],
}

impl Hot {
    /// Of these metrics.
    #[must_use]
    pub fn of(metrics: &Metrics) -> Self {
        let codes = |of: &tidings_shared::prometheus::IntCounterVec| {
            ErrorCode::ALL.map(|code| of.with_label_values(&[code.as_str()]))
        };
        Self {
            types: std::array::from_fn(|place| {
                let label = CLIENT_FRAMES.get(place).unwrap_or(&INVALID);
                let frames = metrics.frames.with_label_values(&[label]);
                (frames, metrics.command_seconds.with_label_values(&[label]))
            }),
            errors: codes(&metrics.errors),
            accepted: metrics.sends.with_label_values(&["accepted"]),
            duplicate: metrics.sends.with_label_values(&["duplicate"]),
            too_many: metrics.sends.with_label_values(&["too_many"]),
            refused: codes(&metrics.sends),
        }
    }

    /// Counts a frame; what is returned takes the time to its answer.
    pub fn frame(&self, command: Option<&Command>) -> Histogram {
        let (frames, seconds) = &self.types[command.map_or(TYPES - 1, Command::place)];
        frames.inc();
        seconds.clone()
    }

    /// Counts an error that a client is told.
    pub fn error(&self, code: ErrorCode) {
        inc(&self.errors, code);
    }

    /// Counts a message that stands in the log.
    pub fn sent(&self, duplicate: bool) {
        if duplicate { self.duplicate.inc() } else { self.accepted.inc() }
    }

    /// Counts a message that was refused since too many of its connection wait: a limit, and no fault of the server.
    pub fn too_many(&self) {
        self.too_many.inc();
    }

    /// Counts a message that was refused.
    pub fn not_sent(&self, code: ErrorCode) {
        inc(&self.refused, code);
    }
}

/// One that is not among all of them is not counted: no session ends for that.
fn inc(counters: &[IntCounter; CODES], code: ErrorCode) {
    if let Some(counter) = counters.get(code as usize) {
        counter.inc();
    }
}

/// Takes the time of round trips to Redis.
pub fn redis_timings(metrics: &Metrics) -> impl Fn(Step, std::time::Duration) + Send + Sync + 'static {
    let steps: [Histogram; STEPS] =
        Step::ALL.map(|step| metrics.redis_seconds.with_label_values(&[step.name()]));
    move |step, took| {
        if let Some(seconds) = steps.get(step as usize) {
            seconds.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_counted_where_it_belongs() {
        let metrics = Metrics::new();
        let hot = Hot::of(&metrics);
        for (place, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place);
            hot.not_sent(code);
            hot.error(code);
            assert_eq!(metrics.sends.with_label_values(&[code.as_str()]).get(), 1);
            assert_eq!(metrics.errors.with_label_values(&[code.as_str()]).get(), 1);
        }
        hot.sent(true);
        hot.sent(false);
        assert_eq!(metrics.sends.with_label_values(&["duplicate"]).get(), 1);
        assert_eq!(metrics.sends.with_label_values(&["accepted"]).get(), 1);
        hot.frame(Some(&Command::Ping)).observe(0.1);
        hot.frame(None).observe(0.1);
        for label in ["ping", "invalid"] {
            assert_eq!(metrics.frames.with_label_values(&[label]).get(), 1);
            assert_eq!(metrics.command_seconds.with_label_values(&[label]).get_sample_count(), 1);
        }
        let told = redis_timings(&metrics);
        for (place, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, place);
            told(step, std::time::Duration::from_millis(1));
            assert_eq!(metrics.redis_seconds.with_label_values(&[step.name()]).get_sample_count(), 1);
        }
    }
}
