//! Completes uploads whose content is in a bucket. Several requests may complete one file at the same time, on any
//! replica. The first one to update the row of the file wins.
//!
//! With S3 and Google an object never changes once it exists, so all requests check the same bytes. With Azure a
//! simultaneous completion may write the object again. So the row has the etag of the checked object, and a reader who
//! finds another etag checks the object again.
//!
//! Because an object does not change, an image without its metadata is a second object. The original is removed after
//! the row names the second object.

use std::io;

use actix_web::HttpResponse;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::Refusal;

use super::check::{CheckedUpload, finish, judge};
use super::{CHECK_SLOT_TIMEOUT, answer_again, incomplete};
use crate::api::caller::Caller;
use crate::api::forms::FileAnswer;
use crate::api::{ApiState, changed_elsewhere, parts};
use crate::bucket::Bucket;
use crate::bucket::parts::{Part, divide};
use crate::file::StoredFile;
use crate::store::{self, uploads};

pub async fn complete(
    state: &ApiState,
    caller: &Caller,
    bucket: &Bucket,
    file: StoredFile,
) -> Result<HttpResponse, Problem> {
    let failed = |error| state.storage_failed(&error);
    let checked = match check(state, caller, bucket, &file).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(refusal)) => {
            // The file is removed for good, so that its object is never written again. The client begins a new upload.
            if uploads::refuse(&state.db, &file.id).await? {
                // The sweep removes the object if this fails.
                let _ = bucket.remove(&file.id).await.map_err(failed);
            }
            return Err(refusal.into());
        }
        // The original may be gone, because another completion has removed it.
        Err(problem) => return answer_again(state, &file, problem).await,
    };
    let Some(completed) = finish(state, &file, None, checked).await? else {
        return answer_again(state, &file, changed_elsewhere()).await;
    };
    state.metrics.received_bytes.inc_by(completed.size);
    if completed.is_cleaned {
        // No URL leads to the original any more. If this removal fails, the original is removed together with the file.
        let _ = bucket.remove_original(&file.id).await.map_err(failed);
    }
    Ok(HttpResponse::Ok().json(FileAnswer::of(&completed, None)))
}

async fn check(
    state: &ApiState,
    caller: &Caller,
    bucket: &Bucket,
    file: &StoredFile,
) -> Result<Result<CheckedUpload, Refusal>, Problem> {
    let slot = state.checks.acquire_within(&caller.user, "checks of files", CHECK_SLOT_TIMEOUT).await?;
    assemble(state, bucket, file).await?;
    let inspecting = bucket.inspect(&file.id).await;
    // Images wait for slots of their own, and must not hold those of other files meanwhile.
    drop(slot);
    // Another completion may not have made the object yet, or may have removed it already.
    let found = inspecting.map_err(|error| state.storage_failed(&error))?.ok_or_else(changed_elsewhere)?;
    judge(state, &caller.user, file, found).await
}

/// Makes the object of a file from its parts, unless it exists already.
async fn assemble(state: &ApiState, bucket: &Bucket, file: &StoredFile) -> Result<(), Problem> {
    let failed = |error| state.storage_failed(&error);
    let Some(upload) = &file.upload_id else { return Err(incomplete(0, file.size)) };
    let Some(received) = parts::received(state, bucket, file, upload).await? else {
        // An earlier completion was not finished, or the bucket has given up the upload.
        let is_assembled = bucket.size(&file.id).await.map_err(failed)?.is_some();
        return if is_assembled { Ok(()) } else { Err(incomplete(0, file.size)) };
    };
    let (stored, missing) = divide(file.size, &received);
    if !missing.is_empty() {
        return Err(incomplete(stored.iter().map(|(part, _)| part.size).sum(), file.size));
    }
    if bucket.presigner().is_none() {
        return assemble_recorded(state, bucket, file, upload, stored).await;
    }
    let Err(error) = bucket.complete_upload(&file.id, upload, stored.clone()).await else { return Ok(()) };
    // A client may have replaced a part since, or another completion may have made the object. Neither is a failure.
    match parts::received(state, bucket, file, upload).await? {
        Some(received) if divide(file.size, &received).0 == stored => Err(failed(error)),
        _ => Err(changed_elsewhere()),
    }
}

/// Makes the object from the recorded parts. If the bucket does not have these parts any more, such as after a lifecycle
/// rule, the upload begins again.
async fn assemble_recorded(
    state: &ApiState,
    bucket: &Bucket,
    file: &StoredFile,
    upload: &str,
    stored: Vec<(Part, String)>,
) -> Result<(), Problem> {
    let failed = |error| state.storage_failed(&error);
    let exists = async || bucket.size(&file.id).await.map(|size| size.is_some()).map_err(failed);
    // Azure would write the object again.
    if exists().await? {
        return Ok(());
    }
    match bucket.complete_upload(&file.id, upload, stored).await {
        Ok(true) => return Ok(()),
        // Another completion may have made the object meanwhile.
        _ if exists().await? => return Ok(()),
        Ok(false) => {}
        Err(error) if misses_parts(&error) => {}
        Err(error) => return Err(failed(error)),
    }
    bucket.abort_upload(&file.id, upload).await.map_err(failed)?;
    store::parts::forget_upload(&state.db, &file.id, upload).await?;
    Err(incomplete(0, file.size))
}

/// Whether the bucket lacks parts. `object_store` has no kind of error for this, so the answer of Azure or Google is read.
fn misses_parts(error: &io::Error) -> bool {
    let text = error.to_string();
    ["InvalidBlockList", "InvalidPart"].iter().any(|code| text.contains(code))
}
