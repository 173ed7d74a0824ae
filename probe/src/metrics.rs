//! The metrics of the probe. All series of known labels exist from the start, with 0.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    round::StepReport,
    step::{Step, StepFailure, failure_codes},
    trust::CertificateExpiries,
};

const OK: &str = "ok";
const FAILED: &str = "failed";

tidings_shared::metrics! {
    /// The metrics of this process.
    pub struct Metrics {
        success: IntGauge = "tidings_probe_success", "1 if the last round succeeded, else 0";
        rounds: IntCounterVec["outcome"] = "tidings_probe_rounds_total", "Rounds, by outcome: ok or failed";
        step_seconds: GaugeVec["step"] = "tidings_probe_step_duration_seconds", "Time of a step in the last round that reached it, seconds, by step: token, dns, tcp, tls, websocket, receiver, room, join, send, deliver, stored or history; send, deliver and stored are measured from the send";
        failures: IntCounterVec["step", "code"] = "tidings_probe_failures_total", "Rounds that failed, by the step that failed and the code";
        last_round: Gauge = "tidings_probe_last_round_timestamp_seconds", "When the last round ended, seconds since 1970";
        last_success: Gauge = "tidings_probe_last_success_timestamp_seconds", "When the last round that succeeded ended, seconds since 1970; 0 before the first";
        certificate_expiry: IntGaugeVec["host"] = "tidings_probe_certificate_expiry_timestamp_seconds", "When the certificate that the host showed ends, seconds since 1970";
        build: IntGaugeVec["version", "commit"] = "tidings_probe_build_info", "1, with version and commit of the program";
    }
}

impl Metrics {
    /// Creates the series of all known labels. Without an earlier value, `rate` does not see the first event.
    pub fn create_series(&self) {
        for outcome in [OK, FAILED] {
            self.rounds.with_label_values(&[outcome]);
        }
        for (_, step) in Step::ALL {
            for code in failure_codes() {
                self.failures.with_label_values(&[step, code]);
            }
        }
        let (version, commit) = (tidings_shared::version::VERSION, tidings_shared::version::commit());
        self.build.with_label_values(&[version, commit]).set(1);
    }

    /// Records one step.
    pub fn record_step(&self, report: &StepReport) {
        self.step_seconds.with_label_values(&[report.step.name()]).set(report.took.as_secs_f64());
    }

    /// Records the end of a round.
    pub fn record_round(&self, outcome: &Result<(), (Step, StepFailure)>, expiries: &CertificateExpiries) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.last_round.set(now);
        self.success.set(i64::from(outcome.is_ok()));
        match outcome {
            Ok(()) => {
                self.last_success.set(now);
                self.rounds.with_label_values(&[OK]).inc();
            }
            Err((step, failure)) => {
                self.rounds.with_label_values(&[FAILED]).inc();
                self.failures.with_label_values(&[step.name(), failure.code]).inc();
            }
        }
        for (host, ends) in expiries.current() {
            self.certificate_expiry.with_label_values(&[&host]).set(ends);
        }
    }
}
