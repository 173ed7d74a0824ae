//! `DELETE /me`: erases the caller.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tidings_shared::auth::Reason;
use tidings_shared::error::{ErrorCode, Refusal};

use super::caller::bearer;
use super::problem::Problem;
use super::state::State;
use crate::account::UnknownUserPolicy;
use crate::erasure::Erasures;
use crate::writer::erase::ErasureStatus;

/// How long an answer waits. A longer erasure continues; the client asks again to wait for it.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Erases me: I am blocked at once, leave all rooms, and then everything that I wrote is deleted, and my name and
/// picture too. Positions, ids and client ids stay. Answered when it is done; asking again waits again.
#[utoipa::path(
    delete, path = "/v1/me", operation_id = "eraseMe", tag = "me",
    responses(
        (status = 204, description = "Erased"),
        (status = 503, description = "Under way, and not done yet: ask again"),
    )
)]
pub async fn erase_me(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    // Not a `Caller`, because a user whose erasure runs is blocked, and may still ask again.
    let identity = state.auth.verify_or_fetch(bearer(request.headers()).map_err(Refusal::from)?).await?;
    let user = identity.user;
    let erasures = Erasures::new(state.db.clone(), state.log.clone());
    match erasures.status(&user).await? {
        ErasureStatus::Unknown if state.unknown_users == UnknownUserPolicy::Required => {
            return Err(Refusal::from(Reason::UnknownUser).into());
        }
        // Nothing of the user is kept.
        ErasureStatus::Unknown | ErasureStatus::Erased => return Ok(HttpResponse::NoContent().finish()),
        ErasureStatus::Present { blocked: true } => {
            return Err(Problem::new(ErrorCode::Forbidden, "this user is blocked"));
        }
        ErasureStatus::Present { blocked: false } => {
            erasures.begin(&user).await?;
            let (erasures, user) = (erasures.clone(), user.clone());
            // Continues when the client does not wait. If it fails, or this node ends, another replica continues it.
            tokio::spawn(async move { erasures.try_to_erase(&user).await });
        }
        ErasureStatus::UnderWay => {}
    }
    // A request without a permit to wait gets the same answer: the erasure continues.
    if let Ok(_permit) = state.waiting.take(&user, "waits for an erasure")
        && erasures.wait_until_erased(&user, ANSWER_WAIT).await?
    {
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(Refusal::unavailable("the erasure is under way, and not done yet; ask again").into())
}
