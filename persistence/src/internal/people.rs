//! Requests of gateways about users: the rooms of a user, the roles of users in a room, accounts.

use std::collections::HashMap;

use actix_web::{
    HttpRequest,
    web::{Data, Json, Payload},
};
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId, UserId},
    internal::{
        MAX_USERS,
        people::{AccountsAnswer, AccountsRequest, RolesAnswer, RolesRequest},
    },
    membership::Membership,
};

use super::{InternalState, authority_problem, within_deadline};
use crate::http::problem::Problem;
use crate::query::{memberships, users};

/// One seed brings every partition to the epoch, unless a later epoch is opened meanwhile.
const MAX_SEED_ATTEMPTS: usize = 3;

pub(super) async fn roles(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<RolesAnswer>, Problem> {
    let RolesRequest { room, users } = state.read(&request, body).await?;
    check_user_count(&users)?;
    let reading = async { memberships::roles(&state.db, &room, &users).await.map_err(Problem::from) };
    Ok(Json(RolesAnswer { roles: within_deadline(reading).await? }))
}

pub(super) async fn accounts(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<AccountsAnswer>, Problem> {
    let AccountsRequest { users } = state.read(&request, body).await?;
    check_user_count(&users)?;
    let reading = async { users::accounts(&state.db, &users).await.map_err(Problem::from) };
    Ok(Json(AccountsAnswer { accounts: within_deadline(reading).await? }))
}

/// A user's memberships, for use in `epoch`. While a partition is of an earlier epoch, its writer may still commit a
/// removal; seeding a room there waits for that writer or fences it off.
pub(super) async fn memberships_in(
    state: &InternalState,
    epoch: Epoch,
    user: &UserId,
) -> Result<(HashMap<RoomId, Membership>, Vec<RoomId>), Problem> {
    for _ in 0..MAX_SEED_ATTEMPTS {
        let read = memberships::of(&state.db, user, epoch).await?;
        if read.behind.is_empty() {
            return Ok((read.rooms, read.recent));
        }
        state.authority.seed(epoch, &read.behind).await.map_err(authority_problem)?;
    }
    Err(Refusal::unavailable("another epoch is being opened; retry").into())
}

fn check_user_count(users: &[UserId]) -> Result<(), Problem> {
    if users.len() > MAX_USERS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_USERS} users")));
    }
    Ok(())
}
