//! Accounts from tokens: updates the row in PostgreSQL, then the cache. The same rule applies to HTTP callers and to
//! users of gateways. An unreachable cache never fails a request.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::UserId,
    log::{Log, Session},
    membership::{self, Account},
};

use crate::query::users::account_of;
use crate::writer::users::{self, UnknownUserPolicy};

/// When an account is put into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// For callers that ask because the cache did not hold the account.
    Always,
    /// For callers that did not ask the cache.
    WhenWritten,
}

/// Admits a user whose token was verified. The answer says whether the user is blocked. `None`: the user is unknown,
/// and the policy requires known users.
pub async fn admit(
    db: &impl ConnectionTrait,
    log: &Log,
    user: &UserId,
    (name, picture): (Option<&str>, Option<&str>),
    caching: Caching,
    unknown_users: UnknownUserPolicy,
) -> Result<Option<Account>, DbErr> {
    // The version is read before the account, so that a later change of the account invalidates the value that is
    // cached here.
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

/// Invalidates the cached account after a write, and caches the new one. If this fails, the user's next token differs
/// from the cache and the account is read again. False: the cache was not reached.
pub async fn refresh_cache(db: &impl ConnectionTrait, log: &Log, user: &UserId) -> bool {
    let Some(session) = log.current_session() else { return false };
    let counted = membership::invalidate_account(&mut session.connection(), user).await;
    let Ok(version) = counted.inspect_err(|error| log.discard_if_unusable(&session, error)) else {
        return false;
    };
    // Reads the account again, because another writer may have changed it since.
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
