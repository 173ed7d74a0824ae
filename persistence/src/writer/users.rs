//! Writes users. If the policy allows unknown users, they are created by their first token, or when they are named as
//! members. Writes the tables `users` and, for last-seen times, `presence`.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use super::audit;
use crate::query::users::{account_of, read_account};
use crate::sql::statement;

/// Whether unknown users are created or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownUserPolicy {
    /// Users are created by their first token, and when they are named as members.
    Create,
    /// Another system creates users; unknown users are refused.
    Required,
}

/// The rule for unknown users. All programs that check accounts have this setting.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AccountArgs {
    /// Whether unknown users are created: `create` does so at their first token and when they are named as members,
    /// `required` refuses unknown users. Persistence, files, push and webhooks need the same value
    #[arg(long, env = "TIDINGS_USERS", default_value = "create", value_name = "RULE")]
    pub users: UnknownUserPolicy,
}

/// The result of admitting a user with a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionOutcome {
    pub account: Account,
    /// Whether the user was created or changed.
    pub written: bool,
}

/// Updates a user from their token: a value in the token replaces a different stored one, and an omitted value keeps
/// it. Creates an unknown user, or returns None if the policy requires known users or a new user may not have this id.
/// Writes nothing if no value differs.
/// Blocked users are not refused, but the returned account says that they are blocked.
pub async fn admit(
    db: &impl ConnectionTrait,
    user: &UserId,
    name: Option<&str>,
    picture: Option<&str>,
    unknown_users: UnknownUserPolicy,
) -> Result<Option<AdmissionOutcome>, DbErr> {
    let (name, picture) = (name.map(without_nul), picture.map(without_nul));
    let sql = "SELECT name, picture, blocked, erasing_at IS NOT NULL AS erasing FROM users WHERE id = $1";
    if let Some(row) = db.query_one_raw(statement(sql, [user.as_str().into()])).await? {
        let account = read_account(&row)?;
        let adds_nothing = |given: &Option<String>, known: &Option<String>| given.is_none() || given == known;
        let is_unchanged = adds_nothing(&name, &account.name) && adds_nothing(&picture, &account.picture);
        if is_unchanged || row.try_get_by("erasing")? {
            return Ok(Some(AdmissionOutcome { account, written: false }));
        }
    } else if unknown_users == UnknownUserPolicy::Required || !user.may_be_new() {
        return Ok(None);
    }
    let sql = "INSERT INTO users AS u (id, name, picture) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE \
               SET name = COALESCE(excluded.name, u.name), picture = COALESCE(excluded.picture, u.picture), \
                 updated_at = CURRENT_TIMESTAMP \
               WHERE u.erasing_at IS NULL RETURNING name, picture, blocked";
    let values = [user.as_str().into(), name.into(), picture.into()];
    match db.query_one_raw(statement(sql, values)).await? {
        Some(row) => Ok(Some(AdmissionOutcome { account: read_account(&row)?, written: true })),
        // No row was written, because the user's erasure has begun since the SELECT.
        None => {
            let account = account_of(db, user).await?;
            Ok(account.map(|account| AdmissionOutcome { account, written: false }))
        }
    }
}

/// The changes of an account. None keeps the stored value, and an empty text removes it.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub name: Option<String>,
    pub picture: Option<String>,
    pub blocked: Option<bool>,
}

/// Creates a user, or changes their account, and returns the new account. None if the user is erased or being erased,
/// which cannot be undone, or is unknown and a new user may not have this id. Records the change by `actor` in the
/// audit log.
pub async fn put_account(
    db: &impl ConnectionTrait,
    user: &UserId,
    change: &AccountChange,
    actor: &UserId,
) -> Result<Option<Account>, DbErr> {
    if !user.may_be_new() && account_of(db, user).await?.is_none() {
        return Ok(None);
    }
    let sql = "WITH put AS (INSERT INTO users AS u (id, name, picture, blocked) \
                 VALUES ($1, NULLIF($2, ''), NULLIF($3, ''), COALESCE($4, false)) ON CONFLICT (id) DO UPDATE \
                 SET name = CASE WHEN $2 IS NULL THEN u.name ELSE excluded.name END, \
                   picture = CASE WHEN $3 IS NULL THEN u.picture ELSE excluded.picture END, \
                   blocked = COALESCE($4, u.blocked), updated_at = CURRENT_TIMESTAMP \
                 WHERE u.erasing_at IS NULL RETURNING id, name, picture, blocked), \
               recorded AS (INSERT INTO audit_log (actor, action, target) \
                 SELECT $5::text, $6::text, id FROM put) \
               SELECT name, picture, blocked FROM put";
    let (name, picture) = (change.name.clone(), change.picture.clone());
    let action = match change.blocked {
        Some(true) => audit::USER_BLOCK,
        Some(false) => audit::USER_UNBLOCK,
        None => audit::USER_CHANGE,
    };
    let values = [
        user.as_str().into(),
        name.into(),
        picture.into(),
        change.blocked.into(),
        actor.as_str().into(),
        action.into(),
    ];
    db.query_one_raw(statement(sql, values)).await?.as_ref().map(read_account).transpose()
}

/// Removes NUL characters, because PostgreSQL's type `text` cannot contain them.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// Creates the unknown users among `users`, without names. Returns how many were created. If the policy requires known
/// users, or a new user may not have one of the ids, creates no user, and returns None if a user is unknown.
pub async fn create_unknown_users<'a>(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = &'a UserId>,
    unknown_users: UnknownUserPolicy,
) -> Result<Option<u64>, DbErr> {
    // Users are always created in the order of their ids, so that concurrent creations cannot deadlock.
    let users: BTreeSet<&UserId> = users.into_iter().collect();
    let must_be_known =
        unknown_users == UnknownUserPolicy::Required || !users.iter().all(|user| user.may_be_new());
    let ids: Vec<String> = users.into_iter().map(UserId::to_string).collect();
    if must_be_known {
        let sql = "SELECT count(*) = cardinality($1::text[]) AS all_known FROM users WHERE id = ANY ($1)";
        let row = db.query_one_raw(statement(sql, [ids.into()])).await?;
        let all_known = row.map_or(Ok(false), |row| row.try_get_by("all_known"))?;
        return Ok(all_known.then_some(0));
    }
    let sql = "INSERT INTO users (id) SELECT v.id FROM unnest($1::text[]) AS v (id) \
               ORDER BY v.id COLLATE \"C\" ON CONFLICT DO NOTHING";
    Ok(Some(db.execute_raw(statement(sql, [ids.into()])).await?.rows_affected()))
}

/// Whether one of these users is erased or being erased. None of their erasures can begin before the transaction ends.
pub async fn any_user_is_erased<'a>(
    transaction: &DatabaseTransaction,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<bool, DbErr> {
    let users: Vec<String> = users.into_iter().map(UserId::to_string).collect();
    let sql = "SELECT erasing_at IS NOT NULL AS erasing FROM users WHERE id = ANY ($1) ORDER BY id FOR SHARE";
    for row in transaction.query_all_raw(statement(sql, [users.into()])).await? {
        if row.try_get_by("erasing")? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stores last-seen times (ms since 1970) of users who went offline. Keeps a later stored time. Skips erased users.
pub async fn store_last_seen(db: &impl ConnectionTrait, seen: &[(UserId, i64)]) -> Result<(), DbErr> {
    let (users, at_ms): (Vec<String>, Vec<i64>) =
        seen.iter().map(|(user, at_ms)| (user.as_str().to_owned(), *at_ms)).unzip();
    // Every replica writes the rows in the order of their ids, so that two replicas cannot deadlock.
    let sql = "INSERT INTO presence (user_id, status, last_seen) \
               SELECT s.id, 'offline', to_timestamp(s.at_ms / 1000.0) \
               FROM unnest($1::text[], $2::bigint[]) AS s (id, at_ms) \
               WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = s.id AND u.erasing_at IS NOT NULL) ORDER BY s.id COLLATE \"C\" \
               ON CONFLICT (user_id) DO UPDATE SET status = EXCLUDED.status, last_seen = EXCLUDED.last_seen \
               WHERE presence.last_seen IS NULL OR presence.last_seen < EXCLUDED.last_seen";
    db.execute_raw(statement(sql, [users.into(), at_ms.into()])).await.map(drop)
}
