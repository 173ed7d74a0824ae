//! Accounts as tokens tell of them, whichever way the user came: the row in PostgreSQL by one rule, then the cache.
//! Promises that a change is cached whoever made it. A cache out of reach never fails a request.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::UserId,
    log::Log,
    membership::{self, Account},
};

use crate::query::users;

/// When an account is put into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// For who asked because the cache did not hold it.
    Always,
    /// For who did not ask the cache.
    WhenWritten,
}

/// Lets a user in who proved who they are; whether they are blocked is in the answer.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn admit(
    db: &impl ConnectionTrait,
    log: &Log,
    user: &UserId,
    (name, picture): (Option<&str>, Option<&str>),
    caching: Caching,
) -> Result<Account, DbErr> {
    let admitted = users::admit(db, user, name, picture).await?;
    if admitted.written || caching == Caching::Always {
        remember(log, user, &admitted.account).await;
    }
    Ok(admitted.account)
}

/// What is not cached now differs from the user's next token, and is then asked for again.
async fn remember(log: &Log, user: &UserId, account: &Account) {
    let Some(session) = log.current_session() else { return };
    let mut connection = session.connection();
    if let Err(error) = membership::remember_account(&mut connection, user, session.epoch, account).await {
        tracing::debug!(kind = ?error.kind(), code = error.code(), "the account cannot be cached");
        log.failed(&session, &error);
    }
}
