//! `DELETE /me`: erases the user of the token.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tidings_shared::auth::Reason;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tokio::time::{Instant, sleep};

use super::caller::bearer;
use super::problem::Problem;
use super::state::State;
use crate::writer::erase::{self, ErasureStatus};
use crate::writer::users::UnknownUserPolicy;

/// How long a request waits for the erasure. A longer erasure continues, and the client may ask again.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Interval at which a waiting request checks whether the erasure is finished.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Erases me: I am blocked at once and leave all rooms. Then my messages, name and picture are deleted; the seqs, ids
/// and client ids stay. Answered when the erasure is finished; a repeated request waits again.
#[utoipa::path(
    delete, path = "/v1/me", operation_id = "eraseMe", tag = "me",
    responses(
        (status = 204, description = "Erased"),
        (status = 503, description = "Under way, and not done yet: ask again"),
    )
)]
pub async fn erase_me(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    // The handler takes no `Caller`, because a user whose erasure runs is blocked but may repeat the request.
    let identity = state.auth.verify_or_fetch(bearer(request.headers()).map_err(Refusal::from)?).await?;
    let user = identity.user;
    match erase::status(&state.db, &user).await? {
        ErasureStatus::Unknown if state.unknown_users == UnknownUserPolicy::Required => {
            return Err(Refusal::from(Reason::UnknownUser).into());
        }
        // There is nothing to erase.
        ErasureStatus::Unknown | ErasureStatus::Erased => return Ok(HttpResponse::NoContent().finish()),
        ErasureStatus::Present { blocked: true } => {
            return Err(Problem::new(ErrorCode::Forbidden, "this user is blocked"));
        }
        ErasureStatus::Present { blocked: false } => {
            erase::begin(&state.db, &user).await?;
            // The erasure continues without the client. If this node fails, another replica continues the erasure.
            state.erasure_requested.notify_one();
        }
        ErasureStatus::UnderWay => {}
    }
    // A request that gets no permit to wait is answered at once, and the erasure continues.
    if let Ok(_permit) = state.wait_slots.acquire(&user, "waits for an erasure")
        && wait_until_erased(&state, &user).await?
    {
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(Refusal::unavailable("the erasure is under way, and not done yet; ask again").into())
}

/// Waits until any replica has finished the erasure. Returns false if it is not finished within `ANSWER_WAIT`.
async fn wait_until_erased(state: &State, user: &UserId) -> Result<bool, Problem> {
    let deadline = Instant::now() + ANSWER_WAIT;
    while erase::status(&state.db, user).await? != ErasureStatus::Erased {
        if Instant::now() + POLL_INTERVAL > deadline {
            return Ok(false);
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
