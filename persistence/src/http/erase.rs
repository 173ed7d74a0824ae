//! `DELETE /me`: the asker is erased.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use tidings_shared::auth::Reason;
use tidings_shared::error::{ErrorCode, Refusal};

use super::caller::bearer;
use super::problem::{Problem, ProblemDocument};
use super::state::State;
use crate::account::Newcomers;
use crate::erasure::Erasures;
use crate::writer::erase::Standing;

/// So long an answer waits; what takes longer goes on, and is waited for by asking again.
const WAIT: Duration = Duration::from_secs(30);

/// Erases me: I am shut out at once, leave all rooms, and then everything that I wrote goes, and my name and picture
/// with it. Positions, ids and client ids stay. Answered when it is done; asking again waits again.
#[utoipa::path(
    delete, path = "/v1/me", operation_id = "eraseMe", tag = "me",
    responses(
        (status = 204, description = "Erased"),
        (status = 503, description = "Under way, and not done yet: ask again", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn erase_me(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    // Not a `Caller`: whoever is being erased is blocked, and may ask again all the same.
    let identity = state.auth.settle(bearer(request.headers()).map_err(Refusal::from)?).await?;
    let user = identity.user;
    let erasures = Erasures::new(state.db.clone(), state.log.clone());
    match erasures.standing(&user).await? {
        Standing::Unknown if state.newcomers == Newcomers::Required => {
            return Err(Refusal::from(Reason::UnknownUser).into());
        }
        // There is nothing of them.
        Standing::Unknown | Standing::Erased => return Ok(HttpResponse::NoContent().finish()),
        Standing::Present { blocked: true } => {
            return Err(Problem::new(ErrorCode::Forbidden, "this user is blocked"));
        }
        Standing::Present { blocked: false } => {
            erasures.begin(&user).await?;
            let (erasures, user) = (erasures.clone(), user.clone());
            // Goes on when the asker does not wait. If it fails, or this node ends, it is found and gone on with.
            tokio::spawn(async move { erasures.try_to_erase(&user).await });
        }
        Standing::UnderWay => {}
    }
    // Who finds no place to wait in is told the same: it goes on, whoever waits.
    if let Ok(_place) = state.waiting.take(&user, "waits for an erasure")
        && erasures.until_erased(&user, WAIT).await?
    {
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(Refusal::unavailable("the erasure is under way, and not done yet; ask again").into())
}
