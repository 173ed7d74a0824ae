//! Completes uploads whose content is in a bucket. Several requests may complete one file at the same time, on any
//! replica. An object never changes once it exists, so all of them check the same bytes, and the first one to update
//! the row of the file wins. An image without its metadata is therefore a second object. The original is removed after
//! the row names the second object.

use actix_web::HttpResponse;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};

use super::check::{CheckedUpload, finish, judge};
use super::{CHECK_SLOT_TIMEOUT, answer_again, incomplete};
use crate::api::caller::Caller;
use crate::api::forms::FileAnswer;
use crate::api::{ApiState, parts};
use crate::bucket::Bucket;
use crate::bucket::parts::divide;
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

fn changed_elsewhere() -> Problem {
    Refusal::new(ErrorCode::Conflict, "another request changed this file; retry").into()
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
    let completed = bucket.complete_upload(&file.id, upload, stored.clone()).await;
    let is_listed = bucket.presigner().is_some();
    match completed {
        Ok(true) => Ok(()),
        Ok(false) if is_listed => Ok(()),
        // A client may have replaced a part since, or another completion may have made the object. Neither is a failure.
        Err(error) if is_listed => match parts::received(state, bucket, file, upload).await? {
            Some(received) if divide(file.size, &received).0 == stored => Err(failed(error)),
            _ => Err(changed_elsewhere()),
        },
        // Another completion has made the object.
        _ if bucket.size(&file.id).await.map_err(failed)?.is_some() => Ok(()),
        // The bucket does not have these parts any more, such as after a lifecycle rule, so the upload begins again.
        lost => {
            if let Err(error) = lost {
                failed(error);
            }
            store::parts::forget_upload(&state.db, &file.id, upload).await?;
            Err(incomplete(0, file.size))
        }
    }
}
