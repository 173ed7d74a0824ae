//! What gateways ask of people: the rooms of one, the roles of many in a room, accounts.

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

use super::{State, in_time, refused};
use crate::http::problem::Problem;
use crate::query::{memberships, users};

/// A seed leaves no partition behind the epoch, unless a later one is opened meanwhile.
const ROUNDS: usize = 3;

pub(super) async fn roles(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<RolesAnswer>, Problem> {
    let RolesRequest { room, users } = state.read(&request, body).await?;
    bounded(&users)?;
    let reading = async { memberships::roles(&state.db, &room, &users).await.map_err(Problem::from) };
    Ok(Json(RolesAnswer { roles: in_time(reading).await? }))
}

pub(super) async fn accounts(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<AccountsAnswer>, Problem> {
    let AccountsRequest { users } = state.read(&request, body).await?;
    bounded(&users)?;
    let reading = async { users::accounts(&state.db, &users).await.map_err(Problem::from) };
    Ok(Json(AccountsAnswer { accounts: in_time(reading).await? }))
}

/// A user's memberships, to be used in `epoch`. As long as a partition is of an earlier one, its writer may still
/// commit a removal: the seed of a room there waits it out, or shuts it out.
pub(super) async fn memberships_in(
    state: &State,
    epoch: Epoch,
    user: &UserId,
) -> Result<(HashMap<RoomId, Membership>, Vec<RoomId>), Problem> {
    for _ in 0..ROUNDS {
        let read = memberships::of(&state.db, user, epoch).await?;
        if read.behind.is_empty() {
            return Ok((read.rooms, read.recent));
        }
        state.authority.seed(epoch, &read.behind).await.map_err(refused)?;
    }
    Err(Refusal::unavailable("not now: another epoch is being opened").into())
}

fn bounded(users: &[UserId]) -> Result<(), Problem> {
    if users.len() > MAX_USERS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_USERS} users")));
    }
    Ok(())
}
