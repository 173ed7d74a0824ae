//! Answers requests of gateways about presence.

use actix_web::web::Data;
use tidings_shared::{
    ids::Seq,
    internal::presence::{
        AcquaintedAnswer, AcquaintedRequest, MembersAnswer, MembersRequest, SmallRoomsAnswer,
        SmallRoomsRequest,
    },
};

use super::{InternalState, check_count};
use crate::{http::problem::Problem, query::presence};

/// Number of users whose presence a client may request at once.
const MAX_OTHERS: usize = 100;

/// Answers the members of a room and its stored head.
pub(super) async fn members(
    state: Data<InternalState>,
    request: MembersRequest,
) -> Result<MembersAnswer, Problem> {
    let members = presence::members(&state.db, &request.room).await?;
    // A missing room is answered as a room without members. Gateways would treat a refusal as a database failure.
    Ok(members.unwrap_or(MembersAnswer { head: Seq(0), users: None }))
}

/// Answers which of `others` share a room with the user, and when they were last seen.
pub(super) async fn acquainted(
    state: Data<InternalState>,
    request: AcquaintedRequest,
) -> Result<AcquaintedAnswer, Problem> {
    check_count(request.others.len(), MAX_OTHERS, "users")?;
    Ok(AcquaintedAnswer { users: presence::acquainted(&state.db, &request.user, &request.others).await? })
}

/// Answers the most recently active small rooms of a user.
pub(super) async fn small_rooms(
    state: Data<InternalState>,
    request: SmallRoomsRequest,
) -> Result<SmallRoomsAnswer, Problem> {
    Ok(SmallRoomsAnswer { rooms: presence::small_rooms(&state.db, &request.user).await? })
}
