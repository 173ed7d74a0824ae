//! What the handlers share.

use std::io;

use sea_orm::DatabaseConnection;
use tidings_persistence::companion::caller::CallerCheck;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::Refusal;
use tidings_shared::rate::UserRateLimiter;
use tidings_shared::request_slots::RequestSlots;

use super::addresses::Addresses;
use crate::active_uploads::ActiveUploads;
use crate::decoding_budget::DecodingBudget;
use crate::media::AllowedTypes;
use crate::metadata::format_of;
use crate::metrics::Metrics;
use crate::storage::Storage;
use crate::store::uploads::StorageLimits;

/// Requests that may append bytes at the same time: in total, and per user.
const MAX_APPENDS: (usize, usize) = (256, 8);
/// Completions that may check content at the same time: in total, and per user. A check reads the whole content.
const MAX_CHECKS: (usize, usize) = (4, 2);
/// Downloads that may check the content of a file again at the same time: in total, and for the files of one uploader.
/// Completions have other slots, so that they do not wait for the downloads after a bucket was copied.
const MAX_RECHECKS: (usize, usize) = (4, 1);
/// Parts of files that may be received at the same time: in total, and per user. Each is up to 8 MiB in memory.
const MAX_PARTS: (usize, usize) = (32, 4);
/// Downloads that may wait for their message to be stored: in total, and per user.
const MAX_WAITS: (usize, usize) = (256, 16);

/// Requests that may create or delete a file at the same time: in total, and per user. Each of them holds a connection
/// to PostgreSQL.
const MAX_CHANGES: (usize, usize) = (6, 1);

/// What may be uploaded, and what happens to it.
pub struct Policy {
    pub max_file_bytes: i64,
    pub storage: StorageLimits,
    pub media_types: AllowedTypes,
    pub upload_timeout_s: i64,
    /// Whether a complete file is held until an admin releases it.
    pub hold: bool,
    /// Largest image whose metadata is removed, and of which a preview is made.
    pub max_image_bytes: u64,
    /// Whether images keep their metadata.
    pub keep_metadata: bool,
    /// Delay before the sweep first looks for the message of a new file, in seconds.
    pub check_after_s: i64,
}

impl Policy {
    /// Whether an image is refused because it is too large to remove its metadata.
    pub fn refuses_image(&self, media_type: &str, size: u64) -> bool {
        let is_image = || format_of(&media_type.to_ascii_lowercase()).is_some();
        !self.keep_metadata && size > self.max_image_bytes && is_image()
    }

    /// The refusal of such an image.
    pub fn image_refusal(&self) -> Refusal {
        let rule = format!("an image of this type must not be over {} bytes", self.max_image_bytes);
        Refusal::bad_field("size", rule).with_reason("image_bytes")
    }
}

/// What the handlers use.
pub struct ApiState {
    pub db: DatabaseConnection,
    pub callers: CallerCheck,
    pub storage: Storage,
    pub addresses: Addresses,
    pub policy: Policy,
    pub metrics: Metrics,
    pub requests: UserRateLimiter,
    pub active: ActiveUploads,
    pub appends: RequestSlots,
    pub parts: RequestSlots,
    pub checks: RequestSlots,
    pub rechecks: RequestSlots,
    pub waits: RequestSlots,
    pub changes: RequestSlots,
    /// Limits the images that are processed at the same time.
    pub image_slots: RequestSlots,
    /// Limits how long the images of each user are decoded.
    pub decoding: DecodingBudget,
}

impl ApiState {
    /// Slots of requests that last: appends, parts, checks, checks of downloads, waits, and changes of rows.
    pub fn slots() -> [RequestSlots; 6] {
        [MAX_APPENDS, MAX_PARTS, MAX_CHECKS, MAX_RECHECKS, MAX_WAITS, MAX_CHANGES]
            .map(|(total, per_user)| RequestSlots::new(total, per_user))
    }

    /// The slots of images. One user gets at most half of them, so that a user with many images does not delay others.
    pub fn image_slots(jobs: usize) -> RequestSlots {
        RequestSlots::new(jobs, jobs.div_ceil(2))
    }

    /// The refusal after a failed operation on the storage. Logs the cause and does not send it to the client.
    pub fn storage_failed(&self, error: &io::Error) -> Problem {
        self.metrics.storage_failures.inc();
        tracing::error!(%error, "the storage of the files failed");
        Refusal::unavailable("the storage is unavailable; retry").into()
    }
}
