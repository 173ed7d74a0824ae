//! Daily limits of one account: rooms that it creates, members whom it adds, and unknown users whom it names.
//! Writes `daily_usage`. PostgreSQL counts, so a limit holds over all nodes and restarts.
//!
//! Each row is a leaky bucket: `used` shrinks by a whole limit per day. So a user may use the whole limit at once, and
//! as much again within the next day. A count is written in the transaction of what it counts. Removing a room or a
//! member does not lower it.

use std::num::NonZeroU32;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use tidings_shared::error::Refusal;
use tidings_shared::ids::UserId;

use crate::sql::statement;

/// The `reason` of a refusal by a daily limit.
const REASON: &str = "daily_limit";

/// The present value of `used`, which shrinks with time. `$4` is the limit.
macro_rules! used_now {
    () => {
        "GREATEST(0, d.used - $4 * EXTRACT(epoch FROM \
           GREATEST(clock_timestamp() - d.at, interval '0'))::float8 / 86400)"
    };
}

/// The daily limits of one account. Back ends and imports have none.
#[derive(Clone, Copy, Debug)]
pub struct DailyLimits {
    /// Rooms that the account creates.
    pub rooms: NonZeroU32,
    /// Memberships that the account gives to others, also as first members of a new room.
    pub members: NonZeroU32,
    /// Users whom the account names as members and whom the system has not seen.
    pub new_users: NonZeroU32,
}

/// What one request adds to the counts of an account.
#[derive(Clone, Copy, Debug, Default)]
pub struct DailyUse {
    pub rooms: u64,
    pub members: u64,
    pub new_users: u64,
}

/// Adds this use to the counts of `user`. If it would exceed a limit, returns the refusal, and the caller must roll the
/// transaction back, because some counts may be written.
pub async fn count_use(
    transaction: &DatabaseTransaction,
    user: &UserId,
    limits: &DailyLimits,
    usage: DailyUse,
) -> Result<Option<Refusal>, DbErr> {
    // The kinds have the same order everywhere, so that transactions cannot deadlock.
    let kinds = [
        ("rooms", usage.rooms, limits.rooms, "new rooms"),
        ("members", usage.members, limits.members, "added members"),
        ("new_users", usage.new_users, limits.new_users, "added users whom the system does not know"),
    ];
    for (kind, count, limit, name) in kinds {
        if count == 0 {
            continue;
        }
        if count > u64::from(limit.get()) {
            let message = format!("the limit is {limit} {name} a day, and the request has {count}");
            return Ok(Some(Refusal::too_large("members", message).with_reason(REASON)));
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(retry_after_ms) = take(transaction, user, kind, count, limit).await? {
            let message = format!("over the limit of {limit} {name} a day; retry later");
            return Ok(Some(Refusal::rate_limited(message, retry_after_ms).with_reason(REASON)));
        }
    }
    Ok(None)
}

/// Adds `count` to one count of the user. If that would exceed the limit, writes nothing and returns the time in
/// milliseconds until it would not.
async fn take(
    transaction: &DatabaseTransaction,
    user: &UserId,
    kind: &str,
    count: u32,
    limit: NonZeroU32,
) -> Result<Option<u64>, DbErr> {
    let values = || -> [Value; 4] {
        [user.as_str().into(), kind.into(), f64::from(count).into(), f64::from(limit.get()).into()]
    };
    let sql = concat!(
        "INSERT INTO daily_usage AS d (user_id, kind, used, at) VALUES ($1, $2, $3, clock_timestamp()) \
         ON CONFLICT (user_id, kind) DO UPDATE SET used = ",
        used_now!(),
        " + $3, at = clock_timestamp() WHERE ",
        used_now!(),
        " + $3 <= $4"
    );
    if transaction.execute_raw(statement(sql, values())).await?.rows_affected() > 0 {
        return Ok(None);
    }
    let sql = concat!(
        "SELECT GREATEST(1, ceil((",
        used_now!(),
        " + $3 - $4) * 86400000 / $4))::bigint AS wait_ms FROM daily_usage d WHERE d.user_id = $1 AND d.kind = $2"
    );
    let row = transaction.query_one_raw(statement(sql, values())).await?;
    let wait_ms: i64 = row.map_or(Ok(1), |row| row.try_get_by("wait_ms"))?;
    Ok(Some(u64::try_from(wait_ms).unwrap_or(1)))
}
