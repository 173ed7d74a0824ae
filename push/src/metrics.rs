//! The metrics of push notifications. All series of known labels exist from the start, with 0.

use tidings_shared::version::{VERSION, commit};

use crate::outcome::OUTCOMES;

tidings_shared::metrics! {
    /// The metrics of this process.
    pub struct Metrics {
        queued: IntCounter = "tidings_push_queued_total", "Notifications that were queued, or that took up a later message while they waited";
        outcomes: IntCounterVec["outcome"] = "tidings_push_outcomes_total", "Notifications whose time had come, by outcome: sent, cleared (the device was told to remove a notification that was read elsewhere), skipped (the notification is no longer needed), online (the user is online), gone (the push service does not know the device, which is removed), status (408, 429 or 5xx), timeout, failed (no answer), rejected (another status), credentials (the push service refuses our credentials, or none are configured for this kind) or refused_address (the host has no public address or is not allowed); if the Expo receipt of a sent notification has an error, that error is counted too";
        attempt_seconds: Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0) = "tidings_push_attempt_seconds", "Time of an attempt, seconds";
        presence_failures: IntCounter = "tidings_push_presence_failures_total", "Look-ups of presence that failed; the users counted as away";
        devices: IntGauge = "tidings_push_devices", "Registered devices";
        pending: IntGauge = "tidings_push_pending", "Notifications that wait";
        overdue_seconds: Gauge = "tidings_push_overdue_seconds", "How long the notification that is overdue longest should have been sent, seconds";
        lag_seconds: Gauge = "tidings_push_feed_lag_seconds", "How long ago the oldest event was stored that was not read yet, seconds";
        failures: IntCounter = "tidings_push_database_failures_total", "Rounds that ended because PostgreSQL failed";
        key_fetches: IntCounterVec["result"] = "tidings_push_key_fetches_total", "Fetches of the keys that tokens are checked with, by result: good or failed";
        secrets_in_use: IntGaugeVec["setting", "position", "fingerprint"] = "tidings_push_secrets_in_use", "1 for each secret and key file of tokens in use, by setting, position and fingerprint";
        secret_reloads: IntCounterVec["files", "result"] = "tidings_push_secret_reloads_total", "Changed files of secrets and keys, by files (token-keys) and result: good (in use) or failed (the old ones stay in use)";
        secret_reload_failing: IntGaugeVec["files"] = "tidings_push_secret_reload_failing", "1 while changed files of secrets or keys cannot be used, else 0, by files";
        ready: IntGauge = "tidings_push_ready", "1 if the service is ready, else 0";
        build: IntGaugeVec["version", "commit"] = "tidings_push_build_info", "1, with version and commit of the program";
    }
}

impl Metrics {
    /// Creates the series of all known labels. Without an earlier value, `rate` does not see the first event.
    pub fn create_series(&self) {
        for outcome in OUTCOMES {
            self.outcomes.with_label_values(&[outcome]);
        }
        for result in ["good", "failed"] {
            self.key_fetches.with_label_values(&[result]);
        }
        self.build.with_label_values(&[VERSION, commit()]).set(1);
    }
}
