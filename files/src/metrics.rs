//! The metrics of the files. All series of known labels exist from the start, with 0.

use crate::file::FileState;
use crate::images::PREVIEW_RESULTS;
use crate::store::sweep::SweepReason;

/// The results of the completion of an upload.
pub const COMPLETIONS: [&str; 5] = ["ready", "held", "wrong_checksum", "wrong_type", "too_large"];

tidings_shared::metrics! {
    /// The metrics of this process.
    pub struct Metrics {
        uploads: IntCounter = "tidings_files_uploads_total", "Uploads that began";
        received_bytes: IntCounter = "tidings_files_received_bytes_total", "Bytes of files that were received and stored";
        completions: IntCounterVec["result"] = "tidings_files_completions_total", "Completions of uploads, by result: ready, held, wrong_checksum, wrong_type (the content has a type that is not allowed) or too_large (an image above its limit)";
        refused: IntCounterVec["limit"] = "tidings_files_refused_total", "Uploads that were refused for a limit: file_bytes, image_bytes, user_bytes, user_files, user_uploads, room_bytes or media_type";
        previews: IntCounterVec["result"] = "tidings_files_previews_total", "Previews of completed images, by result: made, too_large (decoding needs too much memory), undecodable, timeout or over_budget (the images of the user were decoded for too long). Without made the file has no preview";
        addresses: IntCounter = "tidings_files_addresses_total", "Addresses of downloads that were given out";
        downloads: IntCounterVec["result"] = "tidings_files_downloads_total", "Requests for the content of files, by result: served, expired, forged or missing";
        swept: IntCounterVec["reason"] = "tidings_files_swept_total", "Files that the sweep removed, by reason: abandoned (the upload was not completed), unused (no stored message named it) or deleted (its messages are gone)";
        files: IntGaugeVec["state"] = "tidings_files_files", "Files, by state: uploading, ready, held, rejected or removed (content not removed yet)";
        bytes: IntGaugeVec["state"] = "tidings_files_bytes", "Declared bytes of files, by state";
        storage_failures: IntCounter = "tidings_files_storage_failures_total", "Operations on the folder or bucket that failed";
        failures: IntCounter = "tidings_files_database_failures_total", "Rounds of the sweep and of the gauges that ended because PostgreSQL failed";
        key_fetches: IntCounterVec["result"] = "tidings_files_key_fetches_total", "Fetches of the keys that tokens are checked with, by result: good or failed";
        secrets_in_use: IntGaugeVec["setting", "position", "fingerprint"] = "tidings_files_secrets_in_use", "1 for each secret and key file in use, by setting, position and fingerprint";
        secret_reloads: IntCounterVec["files", "result"] = "tidings_files_secret_reloads_total", "Changed files of secrets and keys, by files (token-keys, secret) and result: good (in use) or failed (the old ones stay in use)";
        secret_reload_failing: IntGaugeVec["files"] = "tidings_files_secret_reload_failing", "1 while changed files of secrets or keys cannot be used, else 0, by files";
        ready: IntGauge = "tidings_files_ready", "1 if the service is ready, else 0";
        build: IntGaugeVec["version", "commit"] = "tidings_files_build_info", "1, with version and commit of the program";
    }
}

/// The limits of the counter of refusals.
pub const LIMITS: [&str; 7] =
    ["file_bytes", "image_bytes", "user_bytes", "user_files", "user_uploads", "room_bytes", "media_type"];
/// The results of requests for the content of files.
pub const DOWNLOADS: [&str; 4] = ["served", "expired", "forged", "missing"];

impl Metrics {
    /// Creates the series of all known labels. Without an earlier value, `rate` does not see the first event.
    pub fn create_series(&self) {
        for (counter, labels) in [
            (&self.completions, COMPLETIONS.as_slice()),
            (&self.refused, &LIMITS),
            (&self.previews, &PREVIEW_RESULTS),
            (&self.downloads, &DOWNLOADS),
            (&self.swept, &SweepReason::ALL.map(SweepReason::name)),
            (&self.key_fetches, &["good", "failed"]),
        ] {
            for label in labels {
                counter.with_label_values(&[*label]);
            }
        }
        for state in FileState::ALL {
            self.files.with_label_values(&[state.name()]);
            self.bytes.with_label_values(&[state.name()]);
        }
        let (version, commit) = (tidings_shared::version::VERSION, tidings_shared::version::commit());
        self.build.with_label_values(&[version, commit]).set(1);
    }
}
