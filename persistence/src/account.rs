//! Updates the account of a user from their token: first the row in PostgreSQL, then the cached account in Redis. The
//! same rules apply to HTTP callers and to users of gateways. If the cache is unreachable, the request still succeeds.

use std::sync::Arc;

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::UserId,
    log::{Log, Session, keys::Partition},
    membership::{self, Account},
};

use crate::query::users::{account_of, accounts};
use crate::writer::users::{self, UnknownUserPolicy};

/// When `admit` writes the account into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// In any case. For callers that did not find the account in the cache.
    Always,
    /// Only if `admit` wrote the row. For callers that did not look in the cache.
    WhenWritten,
}

/// Admits a user whose token was verified: creates or updates their row. The returned account says whether the user is
/// blocked. None if the user is unknown and the policy requires known users.
pub async fn admit(
    db: &impl ConnectionTrait,
    log: &Log,
    user: &UserId,
    (name, picture): (Option<&str>, Option<&str>),
    caching: CachePolicy,
    unknown_users: UnknownUserPolicy,
) -> Result<Option<Account>, DbErr> {
    // Reads the version of the cached account before the account itself. If the account changes between the two reads,
    // Redis refuses to cache the old account.
    let cache = match caching {
        CachePolicy::Always => cached_version(log, user).await,
        CachePolicy::WhenWritten => None,
    };
    let Some(admitted) = users::admit(db, user, name, picture, unknown_users).await? else { return Ok(None) };
    if admitted.written {
        refresh_cache(db, log, user).await;
    } else if let Some((session, version)) = cache {
        cache_account(log, &session, user, version, &admitted.account).await;
    }
    Ok(Some(admitted.account))
}

/// Reads the accounts of users, in the order of the users, and caches them. An account is None if the user is unknown.
pub async fn load_and_cache(
    db: &impl ConnectionTrait,
    log: &Log,
    users: &[UserId],
) -> Result<Vec<Option<Account>>, DbErr> {
    let versions = join_all(users.iter().map(|user| cached_version(log, user))).await;
    let accounts = accounts(db, users).await?;
    let found = users.iter().zip(&accounts).zip(versions);
    let writes = found.map(async |((user, account), version)| {
        if let (Some(account), Some((session, version))) = (account, version) {
            cache_account(log, &session, user, version, account).await;
        }
    });
    join_all(writes).await;
    Ok(accounts)
}

/// Invalidates the cached account after its row was written, and caches the new account. Returns false if Redis was not
/// reached. Then the old account may stay cached until a token of the user differs from it.
pub async fn refresh_cache(db: &impl ConnectionTrait, log: &Log, user: &UserId) -> bool {
    let Some(session) = log.current_session(Partition::of_user(user)) else { return false };
    let version = membership::invalidate_account(&mut session.connection(), user).await;
    let Ok(version) = version.inspect_err(|error| log.discard_if_unusable(&session, error)) else {
        return false;
    };
    // Reads the account from PostgreSQL, because another request may have changed it after this one.
    if let Ok(Some(account)) = account_of(db, user).await {
        cache_account(log, &session, user, version, &account).await;
    }
    true
}

async fn cached_version(log: &Log, user: &UserId) -> Option<(Arc<Session>, u64)> {
    let session = log.current_session(Partition::of_user(user))?;
    let version = membership::account_version(&mut session.connection(), user).await;
    let version = version.inspect_err(|error| log.discard_if_unusable(&session, error)).ok()?;
    Some((session, version))
}

async fn cache_account(log: &Log, session: &Arc<Session>, user: &UserId, version: u64, account: &Account) {
    let mut connection = session.connection();
    let cached = membership::cache_account(&mut connection, user, session.epoch, version, account).await;
    if let Err(error) = cached {
        tracing::debug!(kind = ?error.kind(), code = error.code(), "the account cannot be cached");
        log.discard_if_unusable(session, &error);
    }
}
