//! Answers requests of gateways for the memberships of users, and fills the membership cache. Makes users members of
//! public rooms.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix_web::web::Data;
use futures_util::future::join_all;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId, UserId},
    internal::{
        EnterRoomAnswer, EnterRoomRequest, MAX_USERS_WITH_ROOMS, RoomsAnswer, RoomsRequest, UserRooms,
    },
    log::{Session, keys::Partition},
    membership::{self, CacheStamp},
};
use tokio::time::timeout;

use super::{InternalState, authority_problem, check_count};
use crate::http::{self, problem::Problem};
use crate::query::memberships::{self, UserMemberships};

/// How long a cache operation may take. An unresponsive Redis must not use up the time for the answer.
const CACHE_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of reads of the memberships. One or two are enough unless a seed does not get the lock of its
/// partition in time, or a later epoch is opened.
const MAX_MEMBERSHIP_READS: usize = 3;
/// Users with more rooms are asked for alone, so that they do not delay the other users of a request.
const MAX_ROOMS_OF_SHARED_REQUEST: usize = 1000;

/// Answers the memberships of users and, with a Redis session, fills the membership cache. If the request asks only
/// for recent rooms, answers only those.
pub(super) async fn rooms(state: Data<InternalState>, request: RoomsRequest) -> Result<RoomsAnswer, Problem> {
    let RoomsRequest { user, recent_only, more, .. } = request;
    if recent_only {
        let recent = memberships::recent_rooms(&state.db, &user).await?;
        let first = UserRooms { recent, ..UserRooms::default() };
        return Ok(RoomsAnswer { first, is_first_missing: false, more: Vec::new() });
    }
    let must_wait = more.is_none();
    let users: Vec<UserId> = std::iter::once(user).chain(more.into_iter().flatten()).collect();
    check_count(users.len(), MAX_USERS_WITH_ROOMS, "users")?;
    // Reads the stamps of the cache entries before the memberships. If memberships change between the two reads, Redis
    // refuses to cache the old ones. Uses only existing sessions, because the answer does not need the cache. If the
    // stamp of a user cannot be read, only this user is not cached.
    let stamps = users.iter().map(async |user| {
        let session = state.log.current_session(Partition::of_user(user))?;
        let mut connection = session.connection();
        let stamp = membership::stamp(&mut connection, user).await;
        let stamp = stamp.inspect_err(|error| state.log.discard_if_unusable(&session, error)).ok()?;
        Some((session, stamp))
    });
    let stamps: Vec<Option<(Arc<Session>, CacheStamp)>> =
        timeout(CACHE_TIMEOUT, join_all(stamps)).await.unwrap_or_default();
    // Read before the memberships, so that they include the changes up to the bases of all epochs up to this one.
    let newest = state.log.newest_epoch();
    let max_rooms = if must_wait { usize::MAX } else { MAX_ROOMS_OF_SHARED_REQUEST + 1 };
    let mut loaded = memberships::load_memberships(&state.db, &users, max_rooms).await?;
    if must_wait {
        wait_until_valid(&state, &users, &mut loaded).await?;
    }
    let is_valid = |read: &UserMemberships| read.behind.is_empty() && read.of.rooms.len() < max_rooms;
    let valid = loaded.into_iter().map(|read| is_valid(&read).then_some(read.of));
    let valid: Vec<Option<UserRooms>> = valid.collect();
    fill_cache(&state, &users, newest, &stamps, &valid).await;
    let mut valid = valid.into_iter();
    let first = valid.next().flatten();
    let is_first_missing = first.is_none();
    Ok(RoomsAnswer { first: first.unwrap_or_default(), is_first_missing, more: valid.collect() })
}

/// Makes a user a member of a public room, which is created if it does not exist. A refusal is the answer, unless
/// another replica may succeed.
pub(super) async fn enter_room(
    state: Data<InternalState>,
    request: EnterRoomRequest,
) -> Result<EnterRoomAnswer, Problem> {
    let EnterRoomRequest { user, room, name, is_admin } = request;
    match http::enter_room::enter_room(&state.http, &user, &room, name, is_admin).await {
        Ok(()) => Ok(EnterRoomAnswer { refused: None }),
        Err(problem) if matches!(problem.code(), ErrorCode::Unavailable | ErrorCode::Internal) => {
            Err(problem)
        }
        Err(problem) => Ok(EnterRoomAnswer { refused: Some(problem.into_refusal()) }),
    }
}

/// Reads the memberships again until they are valid in the newest epoch of each partition. While a partition is in an
/// earlier epoch, a writer of that epoch may still commit a removal. So one room of that partition is seeded first: the
/// seed waits for the transaction of such a writer, and stops later ones.
async fn wait_until_valid(
    state: &InternalState,
    users: &[UserId],
    loaded: &mut Vec<UserMemberships>,
) -> Result<(), Problem> {
    for _ in 0..MAX_MEMBERSHIP_READS {
        let mut behind: BTreeMap<Epoch, Vec<RoomId>> = BTreeMap::new();
        for (room, newest) in loaded.iter().flat_map(|read| read.behind.values()) {
            behind.entry(*newest).or_default().push(room.clone());
        }
        if behind.is_empty() {
            return Ok(());
        }
        for (epoch, rooms) in behind {
            state.authority.seed(epoch, &rooms).await.map_err(authority_problem)?;
        }
        *loaded = memberships::load_memberships(&state.db, users, usize::MAX).await?;
    }
    match loaded.iter().all(|read| read.behind.is_empty()) {
        true => Ok(()),
        false => Err(Refusal::unavailable("another epoch is being opened; retry").into()),
    }
}

/// Caches the memberships that were read, unless they changed after their stamp was read, or have no stamp. `newest` is
/// an epoch that was opened before the memberships were read.
async fn fill_cache(
    state: &InternalState,
    users: &[UserId],
    newest: Epoch,
    stamps: &[Option<(Arc<Session>, CacheStamp)>],
    read: &[Option<UserRooms>],
) {
    let stamped = users.iter().zip(stamps).zip(read);
    let read = stamped.filter_map(|((user, stamp), read)| Some((user, stamp.as_ref()?, read.as_ref()?)));
    let fills = read.map(async |(user, (session, stamp), read)| {
        let mut connection = session.connection();
        let filled = membership::fill(&mut connection, user, newest, *stamp, &read.rooms).await;
        filled.inspect_err(|error| state.log.discard_if_unusable(session, error))
    });
    let Ok(filled) = timeout(CACHE_TIMEOUT, join_all(fills)).await else { return };
    if let Some(error) = filled.into_iter().find_map(Result::err) {
        tracing::debug!(kind = ?error.kind(), code = error.code(), "the membership cache cannot be filled");
    }
}
