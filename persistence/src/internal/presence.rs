//! Requests of gateways about presence.

use actix_web::{
    HttpRequest,
    web::{Data, Json, Payload},
};
use tidings_shared::{
    error::ErrorCode,
    ids::Seq,
    internal::presence::{
        AcquaintedAnswer, AcquaintedRequest, MembersAnswer, MembersRequest, SmallRoomsAnswer,
        SmallRoomsRequest,
    },
};

use super::{InternalState, within_deadline};
use crate::{http::problem::Problem, query::presence};

/// The most users that a client may ask for at once.
const MAX_OTHERS: usize = 100;

pub(super) async fn members(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<MembersAnswer>, Problem> {
    let MembersRequest { room } = state.read(&request, body).await?;
    let members =
        within_deadline(async { presence::members(&state.db, &room).await.map_err(Problem::from) }).await?;
    // A missing room has no members to notify. Not a refusal, because gateways would take that for a failed database.
    Ok(Json(members.unwrap_or(MembersAnswer { head: Seq(0), users: None })))
}

pub(super) async fn acquainted(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<AcquaintedAnswer>, Problem> {
    let AcquaintedRequest { user, others } = state.read(&request, body).await?;
    if others.len() > MAX_OTHERS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_OTHERS} users")));
    }
    let reading = async { presence::acquainted(&state.db, &user, &others).await.map_err(Problem::from) };
    Ok(Json(AcquaintedAnswer { users: within_deadline(reading).await? }))
}

pub(super) async fn small_rooms(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<SmallRoomsAnswer>, Problem> {
    let SmallRoomsRequest { user } = state.read(&request, body).await?;
    let reading = async { presence::small_rooms(&state.db, &user).await.map_err(Problem::from) };
    Ok(Json(SmallRoomsAnswer { rooms: within_deadline(reading).await? }))
}
