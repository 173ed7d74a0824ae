//! `DELETE /me` erases the user of the token. `DELETE /users/{user}` erases any user, for back ends.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tidings_shared::auth::Reason;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tokio::time::{Instant, sleep};

use super::caller::{Caller, bearer_token};
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::writer::erasure::{self, ErasureStatus};
use crate::writer::users::UnknownUserPolicy;

/// How long a request waits for the erasure. A longer erasure continues, and the client may ask again.
const ERASURE_WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval at which a waiting request checks whether the erasure is finished.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Erases me: I am blocked at once and leave all rooms. Then my messages, name and picture are deleted; the seqs, ids
/// and client ids stay. Also erases a user who is blocked. Answered when the erasure is finished; a repeated request
/// waits again.
#[utoipa::path(
    delete, path = "/v1/me", operation_id = "eraseMe", tag = "me",
    responses(
        (status = 204, description = "Erased"),
        (status = 503, description = "Under way, and not done yet: ask again"),
    )
)]
pub async fn erase_me(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    // The handler takes no `Caller`, because `Caller` refuses blocked users. Blocked users may erase themselves and
    // repeat the request.
    let identity =
        state.auth.verify_or_fetch(bearer_token(request.headers()).map_err(Refusal::from)?).await?;
    match erasure::erasure_status(&state.db, &identity.user).await? {
        ErasureStatus::UnknownUser if state.unknown_users == UnknownUserPolicy::Required => {
            Err(Refusal::from(Reason::UnknownUser).into())
        }
        // There is nothing to erase.
        ErasureStatus::UnknownUser => Ok(HttpResponse::NoContent().finish()),
        status => erase(&state, &identity.user, status, &identity.user).await,
    }
}

/// Erases a user, in the same way as `eraseMe`, blocked or not. Needs the scope `tidings.admin`.
#[utoipa::path(
    delete, path = "/v1/users/{user}", operation_id = "eraseUser", tag = "users",
    params(("user" = UserId, Path)),
    responses(
        (status = 204, description = "Erased"),
        (status = 404, description = "No such user"),
        (status = 503, description = "Under way, and not done yet: ask again"),
    )
)]
pub async fn erase_user(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user = parameters::user(&path)?;
    if !caller.admin {
        let rule = "users are erased with the scope tidings.admin, or by their own tokens";
        return Err(Problem::new(ErrorCode::Forbidden, rule));
    }
    match erasure::erasure_status(&state.db, &user).await? {
        ErasureStatus::UnknownUser => Err(Refusal::not_found("user").into()),
        status => erase(&state, &user, status, &caller.user).await,
    }
}

/// Begins the erasure of `user` if it has not begun, and answers when it is finished. The wait uses one of the wait
/// slots of `caller`.
async fn erase(
    state: &State,
    user: &UserId,
    status: ErasureStatus,
    caller: &UserId,
) -> Result<HttpResponse, Problem> {
    if status == ErasureStatus::Present {
        erasure::begin_erasure(&state.db, user, Some(caller)).await?;
        // The erasure continues without the client. If this node fails, another replica continues the erasure.
        state.erasure_requested.notify_one();
    }
    if status == ErasureStatus::Erased {
        return Ok(HttpResponse::NoContent().finish());
    }
    // A request that gets no permit to wait is answered at once, and the erasure continues.
    if let Ok(_permit) = state.wait_slots.acquire(caller, "waits for an erasure")
        && wait_until_erased(state, user).await?
    {
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(Refusal::unavailable("the erasure is under way, and not done yet; ask again").into())
}

/// Waits until any replica has finished the erasure. Returns false if it is not finished within `ERASURE_WAIT_TIMEOUT`.
async fn wait_until_erased(state: &State, user: &UserId) -> Result<bool, Problem> {
    let deadline = Instant::now() + ERASURE_WAIT_TIMEOUT;
    while erasure::erasure_status(&state.db, user).await? != ErasureStatus::Erased {
        if Instant::now() + POLL_INTERVAL > deadline {
            return Ok(false);
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
