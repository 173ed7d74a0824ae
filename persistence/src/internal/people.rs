//! Answers requests of gateways about users: the roles of users in a room, accounts and presence.

use actix_web::web::Data;
use tidings_shared::{
    ids::Seq,
    internal::{
        ConnectUserAnswer, ConnectUserRequest, MAX_USERS, UsersOfRoom,
        presence::{
            AcquaintedAnswer, AcquaintedRequest, MembersAnswer, MembersRequest, SmallRoomsAnswer,
            SmallRoomsRequest,
        },
        users::{AccountsAnswer, AccountsRequest, RolesAnswer, RolesRequest},
    },
    limits::MAX_PRESENCE_USERS,
};

use super::{InternalState, check_count};
use crate::account::{self, CachePolicy};
use crate::http::problem::Problem;
use crate::query::{memberships, presence, users};

/// Answers the stored roles of users in rooms.
pub(super) async fn roles(state: Data<InternalState>, request: RolesRequest) -> Result<RolesAnswer, Problem> {
    let rooms: Vec<UsersOfRoom> = std::iter::once(request.first).chain(request.more).collect();
    check_count(rooms.iter().map(|room| room.users.len()).sum(), MAX_USERS, "users")?;
    let mut roles = memberships::roles(&state.db, &rooms).await?;
    Ok(RolesAnswer { more: roles.split_off(1), roles: roles.pop().unwrap_or_default() })
}

/// Answers the stored accounts of users, and caches them if the request asks for that. Creates none.
pub(super) async fn accounts(
    state: Data<InternalState>,
    request: AccountsRequest,
) -> Result<AccountsAnswer, Problem> {
    check_count(request.users.len(), MAX_USERS, "users")?;
    let accounts = match request.fills_cache {
        true => account::load_and_cache(&state.db, &state.log, &request.users).await?,
        false => users::accounts(&state.db, &request.users).await?,
    };
    Ok(AccountsAnswer { accounts })
}

/// Creates or updates a user from the claims of a token, and caches the account even if it did not change.
pub(super) async fn connect_user(
    state: Data<InternalState>,
    request: ConnectUserRequest,
) -> Result<ConnectUserAnswer, Problem> {
    let claims = (request.name.as_deref(), request.picture.as_deref());
    let (user, unknown_users) = (&request.user, state.unknown_users);
    Ok(account::admit(&state.db, &state.log, user, claims, CachePolicy::Always, unknown_users).await?)
}

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
    check_count(request.others.len(), MAX_PRESENCE_USERS, "users")?;
    Ok(AcquaintedAnswer {
        users: presence::users_sharing_room(&state.db, &request.user, &request.others).await?,
    })
}

/// Answers the most recently active small rooms of a user.
pub(super) async fn small_rooms(
    state: Data<InternalState>,
    request: SmallRoomsRequest,
) -> Result<SmallRoomsAnswer, Problem> {
    Ok(SmallRoomsAnswer { rooms: presence::small_rooms(&state.db, &request.user).await? })
}
