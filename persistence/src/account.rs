//! Updates the account of a user from their token: first the row in PostgreSQL, then the cached account in Redis. The
//! same rules apply to HTTP callers and to users of gateways. If the cache is unreachable, the request still succeeds.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::UserId,
    log::{Log, Session},
    membership::{self, Account},
};

use crate::query::users::account_of;
use crate::writer::users::{self, UnknownUserPolicy};

/// When `admit` writes the account into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Always, for a caller who did not find the account in the cache.
    Always,
    /// Only after the row was written, for a caller who did not read the cache.
    WhenWritten,
}

/// Admits a user whose token was verified: creates or updates their row. The returned account says whether the user is
/// blocked. None if the user is unknown and the policy requires known users.
pub async fn admit(
    db: &impl ConnectionTrait,
    log: &Log,
    user: &UserId,
    (name, picture): (Option<&str>, Option<&str>),
    caching: Caching,
    unknown_users: UnknownUserPolicy,
) -> Result<Option<Account>, DbErr> {
    // Reads the version of the cached account before the account. If the account changes in between, Redis does not
    // accept the value that is cached here.
    let cache = match caching {
        Caching::Always => version(log, user).await,
        Caching::WhenWritten => None,
    };
    let Some(admitted) = users::admit(db, user, name, picture, unknown_users).await? else { return Ok(None) };
    if admitted.written {
        refresh_cache(db, log, user).await;
    } else if let Some((session, version)) = cache {
        remember(log, &session, user, version, &admitted.account).await;
    }
    Ok(Some(admitted.account))
}

/// Invalidates the cached account after its row was written, and caches the new account. Returns false if the cache was
/// not reached; then the account is read again when the user's next token differs from the cached account.
pub async fn refresh_cache(db: &impl ConnectionTrait, log: &Log, user: &UserId) -> bool {
    let Some(session) = log.current_session() else { return false };
    let counted = membership::invalidate_account(&mut session.connection(), user).await;
    let Ok(version) = counted.inspect_err(|error| log.discard_if_unusable(&session, error)) else {
        return false;
    };
    // Reads the account from PostgreSQL, because another request may have changed it after this one.
    if let Ok(Some(account)) = account_of(db, user).await {
        remember(log, &session, user, version, &account).await;
    }
    true
}

async fn version(log: &Log, user: &UserId) -> Option<(Arc<Session>, u64)> {
    let session = log.current_session()?;
    let version = membership::account_version(&mut session.connection(), user).await;
    let version = version.inspect_err(|error| log.discard_if_unusable(&session, error)).ok()?;
    Some((session, version))
}

async fn remember(log: &Log, session: &Arc<Session>, user: &UserId, version: u64, account: &Account) {
    let mut connection = session.connection();
    let cached = membership::cache_account(&mut connection, user, session.epoch, version, account).await;
    if let Err(error) = cached {
        tracing::debug!(kind = ?error.kind(), code = error.code(), "the account cannot be cached");
        log.discard_if_unusable(session, &error);
    }
}
