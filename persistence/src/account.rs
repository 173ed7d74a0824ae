//! Accounts as tokens tell of them, whichever way the user came: the row in PostgreSQL by one rule, then the cache.
//! Promises that a change is cached whoever made it. A cache out of reach never fails a request.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::UserId,
    log::{Log, Session},
    membership::{self, Account},
};

use crate::query::users;

/// How users become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Newcomers {
    /// By their first token, and by being named as a member.
    Create,
    /// Somebody else creates them; who is not known is refused.
    Required,
}

/// When an account is put into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// For who asked because the cache did not hold it.
    Always,
    /// For who did not ask the cache.
    WhenWritten,
}

/// Lets a user in who proved who they are; whether they are blocked is in the answer. `None`: they are not known, and
/// must be.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn admit(
    db: &impl ConnectionTrait,
    log: &Log,
    user: &UserId,
    (name, picture): (Option<&str>, Option<&str>),
    caching: Caching,
    newcomers: Newcomers,
) -> Result<Option<Account>, DbErr> {
    // Before the account is read: a change from here on shuts out what would be cached of it.
    let cache = match caching {
        Caching::Always => version(log, user).await,
        Caching::WhenWritten => None,
    };
    let Some(admitted) = users::admit(db, user, name, picture, newcomers).await? else { return Ok(None) };
    if admitted.written {
        changed(db, log, user).await;
    } else if let Some((session, version)) = cache {
        remember(log, &session, user, version, &admitted.account).await;
    }
    Ok(Some(admitted.account))
}

/// Tells the cache that an account was written. What cannot be told differs from the user's next token, and is then
/// asked for again. False: it was not told.
pub async fn changed(db: &impl ConnectionTrait, log: &Log, user: &UserId) -> bool {
    let Some(session) = log.current_session() else { return false };
    let counted = membership::account_changed(&mut session.connection(), user).await;
    let Ok(version) = counted.inspect_err(|error| log.failed(&session, error)) else { return false };
    // As it is now: another may have written it since.
    if let Ok(Some(account)) = users::account_of(db, user).await {
        remember(log, &session, user, version, &account).await;
    }
    true
}

async fn version(log: &Log, user: &UserId) -> Option<(Arc<Session>, u64)> {
    let session = log.current_session()?;
    let version = membership::account_version(&mut session.connection(), user).await;
    let version = version.inspect_err(|error| log.failed(&session, error)).ok()?;
    Some((session, version))
}

async fn remember(log: &Log, session: &Arc<Session>, user: &UserId, version: u64, account: &Account) {
    let mut connection = session.connection();
    let cached = membership::remember_account(&mut connection, user, session.epoch, version, account).await;
    if let Err(error) = cached {
        tracing::debug!(kind = ?error.kind(), code = error.code(), "the account cannot be cached");
        log.failed(session, &error);
    }
}
