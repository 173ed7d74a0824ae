//! Answers requests of gateways about users: the rooms of a user, the roles of users in a room, accounts and presence.

use std::time::Duration;

use actix_web::web::Data;
use tidings_shared::{
    error::Refusal,
    ids::{Epoch, Seq, UserId},
    internal::{
        ConnectUserAnswer, ConnectUserRequest, MAX_USERS, RoomsAnswer, RoomsRequest,
        people::{AccountsAnswer, AccountsRequest, RolesAnswer, RolesRequest},
        presence::{
            AcquaintedAnswer, AcquaintedRequest, MembersAnswer, MembersRequest, SmallRoomsAnswer,
            SmallRoomsRequest,
        },
    },
    limits::MAX_PRESENCE_USERS,
    membership,
};
use tokio::time::timeout;

use super::{InternalState, authority_problem, check_count};
use crate::account::{self, Caching};
use crate::http::problem::Problem;
use crate::query::memberships::{self, UserMemberships};
use crate::query::{presence, users};

/// How long a cache operation may take, so that an unresponsive Redis does not use up the time for the answer.
const CACHE_TIMEOUT: Duration = Duration::from_millis(500);
/// How many times memberships are read. One seed moves a partition to the epoch, unless a later epoch is opened.
const MAX_SEED_ATTEMPTS: usize = 3;

/// Answers the memberships of a user, and fills the membership cache if this process has a Redis session.
pub(super) async fn rooms(state: Data<InternalState>, request: RoomsRequest) -> Result<RoomsAnswer, Problem> {
    let RoomsRequest { user, epoch } = request;
    // Reads the stamp of the cache entry before the memberships. If they change in between, Redis does not accept the
    // value that is cached here. Uses only an existing session, because the answer does not need the cache.
    let cache = async {
        let session = state.log.current_session()?;
        let mut connection = session.connection();
        let stamp = timeout(CACHE_TIMEOUT, membership::stamp(&mut connection, &user)).await.ok()?;
        let stamp = stamp.inspect_err(|error| state.log.discard_if_unusable(&session, error)).ok()?;
        Some((session, stamp))
    };
    let cache = cache.await;
    // Readers of the cache rely on these memberships in the session's epoch.
    let epoch = cache.as_ref().map_or(epoch, |(session, _)| epoch.max(session.epoch.0));
    let UserMemberships { rooms, recent, .. } = memberships_in(&state, Epoch(epoch), &user).await?;
    if let Some((session, stamp)) = cache {
        let mut connection = session.connection();
        let filled = membership::fill(&mut connection, &user, session.epoch, stamp, &rooms);
        if let Ok(Err(error)) = timeout(CACHE_TIMEOUT, filled).await {
            tracing::debug!(kind = ?error.kind(), code = error.code(), "the membership cache cannot be filled");
            state.log.discard_if_unusable(&session, &error);
        }
    }
    Ok(RoomsAnswer { rooms, recent })
}

/// Answers the stored roles of users in a room.
pub(super) async fn roles(state: Data<InternalState>, request: RolesRequest) -> Result<RolesAnswer, Problem> {
    check_count(request.users.len(), MAX_USERS, "users")?;
    Ok(RolesAnswer { roles: memberships::roles(&state.db, &request.room, &request.users).await? })
}

/// Answers the stored accounts of users. Creates none.
pub(super) async fn accounts(
    state: Data<InternalState>,
    request: AccountsRequest,
) -> Result<AccountsAnswer, Problem> {
    check_count(request.users.len(), MAX_USERS, "users")?;
    Ok(AccountsAnswer { accounts: users::accounts(&state.db, &request.users).await? })
}

/// Creates or updates a user from the claims of a token, and always caches the account.
pub(super) async fn connect_user(
    state: Data<InternalState>,
    request: ConnectUserRequest,
) -> Result<ConnectUserAnswer, Problem> {
    let claims = (request.name.as_deref(), request.picture.as_deref());
    let (user, unknown_users) = (&request.user, state.unknown_users);
    Ok(account::admit(&state.db, &state.log, user, claims, Caching::Always, unknown_users).await?)
}

/// A user's memberships, valid in `epoch`. While a partition is in an earlier epoch, a writer of that epoch may still
/// commit a removal. So a room of that partition is seeded first, which waits for such a writer or fences it off.
async fn memberships_in(
    state: &InternalState,
    epoch: Epoch,
    user: &UserId,
) -> Result<UserMemberships, Problem> {
    for _ in 0..MAX_SEED_ATTEMPTS {
        let read = memberships::load(&state.db, user, epoch).await?;
        if read.behind.is_empty() {
            return Ok(read);
        }
        state.authority.seed(epoch, &read.behind).await.map_err(authority_problem)?;
    }
    Err(Refusal::unavailable("another epoch is being opened; retry").into())
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
    Ok(AcquaintedAnswer { users: presence::acquainted(&state.db, &request.user, &request.others).await? })
}

/// Answers the most recently active small rooms of a user.
pub(super) async fn small_rooms(
    state: Data<InternalState>,
    request: SmallRoomsRequest,
) -> Result<SmallRoomsAnswer, Problem> {
    Ok(SmallRoomsAnswer { rooms: presence::small_rooms(&state.db, &request.user).await? })
}
