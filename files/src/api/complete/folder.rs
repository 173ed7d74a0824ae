//! Completes uploads whose content is in the folder. A completion holds the lock of the content file until the row is
//! written, so that no other request changes the checked bytes.

use std::time::Duration;

use actix_web::{HttpResponse, ResponseError};
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::ErrorCode;

use super::check::{finish, judge};
use super::{CHECK_SLOT_TIMEOUT, answer_again, incomplete};
use crate::api::caller::Caller;
use crate::api::content::{lock, offset_answer, recheck, sync_and_size};
use crate::api::forms::FileAnswer;
use crate::api::{ApiState, no_such_file};
use crate::file::StoredFile;
use crate::folder::blocking;

/// How long a completion waits for a request that still writes the last bytes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

pub async fn complete(state: &ApiState, caller: &Caller, file: StoredFile) -> Result<HttpResponse, Problem> {
    let Some(content) = lock(state, &file.id, LOCK_TIMEOUT).await? else {
        return Err(Problem::new(ErrorCode::Conflict, "another request is sending this file; retry"));
    };
    let file = match recheck(state, &file.id).await {
        Ok(file) => file,
        Err(problem) => return answer_again(state, &file, problem).await,
    };
    let (mut content, offset) = sync_and_size(state, content).await?;
    if offset != file.size {
        let problem = incomplete(offset, file.size);
        return Ok(offset_answer(problem.error_response(), &file, offset));
    }
    let slot = state.checks.acquire_within(&caller.user, "checks of files", CHECK_SLOT_TIMEOUT).await?;
    let inspecting = blocking(move || content.inspect().map(|found| (content, found)));
    let (content, found) = inspecting.await.map_err(|error| state.storage_failed(&error))?;
    // Images wait for slots of their own, and must not hold those of other files meanwhile.
    drop(slot);
    match judge(state, &caller.user, &file, (found, None)).await? {
        Ok(checked) => {
            let completed = finish(state, &file, Some(content), checked).await?.ok_or_else(no_such_file)?;
            Ok(HttpResponse::Ok().json(FileAnswer::of(&completed, None)))
        }
        Err(refusal) => {
            blocking(move || content.clear()).await.map_err(|error| state.storage_failed(&error))?;
            Ok(offset_answer(Problem::from(refusal).error_response(), &file, 0))
        }
    }
}
