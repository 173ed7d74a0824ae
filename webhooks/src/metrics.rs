//! The metrics of the webhooks. All series of known labels exist from the start, with 0.

use crate::outcome::OUTCOMES;

tidings_shared::metrics! {
    /// The metrics of this process.
    pub struct Metrics {
        queued: IntCounter = "tidings_webhooks_queued_total", "Events that were queued for an endpoint";
        attempts: IntCounterVec["outcome"] = "tidings_webhooks_attempts_total", "Attempts to deliver, by outcome: delivered, status (another status than 2xx), timeout, refused_address (the host has no public address), failed (no answer), gone (410) or skipped (the event has nothing to send)";
        attempt_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0) = "tidings_webhooks_attempt_seconds", "Time of an attempt, seconds";
        dead_letters: IntCounter = "tidings_webhooks_dead_letters_total", "Events that became dead letters after their last attempt";
        pending: IntGauge = "tidings_webhooks_pending", "Events that wait for an attempt, of all endpoints";
        dead: IntGauge = "tidings_webhooks_dead", "Dead letters that are kept, of all endpoints";
        oldest_pending_seconds: Gauge = "tidings_webhooks_oldest_pending_seconds", "How long the event that has waited longest has been queued, seconds, over all enabled endpoints";
        endpoints: IntGaugeVec["state"] = "tidings_webhooks_endpoints", "Endpoints, by state: enabled, admin (disabled by an admin), gone (the endpoint answered 410) or dead_letters (too many dead letters)";
        lag_seconds: Gauge = "tidings_webhooks_feed_lag_seconds", "How long ago the oldest event was stored that an enabled endpoint has not queued yet, seconds";
        failures: IntCounter = "tidings_webhooks_database_failures_total", "Rounds that ended because PostgreSQL failed";
        key_fetches: IntCounterVec["result"] = "tidings_webhooks_key_fetches_total", "Fetches of the keys that tokens are checked with, by result: good or failed";
        secrets_in_use: IntGaugeVec["setting", "position", "fingerprint"] = "tidings_webhooks_secrets_in_use", "1 for each secret and key file of tokens in use, by setting, position and fingerprint";
        secret_reloads: IntCounterVec["files", "result"] = "tidings_webhooks_secret_reloads_total", "Changed files of secrets and keys, by files (token-keys) and result: good (in use) or failed (the old ones stay in use)";
        secret_reload_failing: IntGaugeVec["files"] = "tidings_webhooks_secret_reload_failing", "1 while changed files of secrets or keys cannot be used, else 0, by files";
        ready: IntGauge = "tidings_webhooks_ready", "1 if the service is ready, else 0";
        build: IntGaugeVec["version", "commit"] = "tidings_webhooks_build_info", "1, with version and commit of the program";
    }
}

/// The states of the gauge of endpoints.
pub const ENABLED: &str = "enabled";

impl Metrics {
    /// Creates the series of all known labels. Without an earlier value, `rate` does not see the first event.
    pub fn create_series(&self) {
        use crate::endpoint::reason::{ADMIN, DEAD_LETTERS, GONE};
        for outcome in OUTCOMES {
            self.attempts.with_label_values(&[outcome]);
        }
        for state in [ENABLED, ADMIN, GONE, DEAD_LETTERS] {
            self.endpoints.with_label_values(&[state]);
        }
        for result in ["good", "failed"] {
            self.key_fetches.with_label_values(&[result]);
        }
        let (version, commit) = (tidings_shared::version::VERSION, tidings_shared::version::commit());
        self.build.with_label_values(&[version, commit]).set(1);
    }
}
