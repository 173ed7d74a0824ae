//! Events on the way to an endpoint: a row for each. A claim moves `next_attempt_at` behind the time limit of the attempts,
//! so that another replica tries again if this one stops. `claims` is the fencing token: a failure counts only while nobody
//! has claimed the delivery again.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_persistence::query::feed::LogRange;
use tidings_persistence::sql::{IdColumn, column, statement};
use tidings_shared::ids::RoomId;

/// A delivery that this replica has claimed.
#[derive(Debug, FromQueryResult)]
pub struct Claim {
    pub room: IdColumn<RoomId>,
    pub after: i64,
    pub upto: i64,
    /// Failed attempts before.
    pub attempts: i32,
    /// The fencing token. It grows with each claim. A failure with an older token does not count.
    claims: i32,
}

impl Claim {
    /// The part of a room's log that is delivered.
    pub fn range(&self) -> LogRange {
        LogRange { room: self.room.0.clone(), after: self.after, upto: self.upto }
    }
}

/// Queues events for an endpoint. An event that is queued already stays as it is.
pub async fn insert(db: &impl ConnectionTrait, webhook: &str, ranges: &[LogRange]) -> Result<u64, DbErr> {
    if ranges.is_empty() {
        return Ok(0);
    }
    let sql = "INSERT INTO webhook_deliveries (webhook_id, room_id, after_seq, upto_seq) \
        SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[]) ON CONFLICT DO NOTHING";
    let values = [
        webhook.into(),
        column(ranges, |range| range.room.as_str().to_owned()),
        column(ranges, |range| range.after),
        column(ranges, |range| range.upto),
    ];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected())
}

/// The first events of the rooms whose oldest event is due: an event that waits for its next attempt, or that is claimed,
/// holds back the later ones of its room, and dead letters hold nothing back. The lock of the oldest event stands for the
/// room. `heads` is read once, so that the cost grows with the number of events that wait, and not with its square. More
/// rooms are looked at than claimed, because another replica may hold some of them.
const CLAIM_ORDERED_SQL: &str = "WITH heads AS MATERIALIZED (SELECT DISTINCT ON (room_id) room_id, upto_seq, next_attempt_at \
      FROM webhook_deliveries WHERE webhook_id = $1 AND dead_at IS NULL ORDER BY room_id, upto_seq), \
    oldest AS MATERIALIZED (SELECT room_id, upto_seq FROM heads WHERE next_attempt_at <= now() \
      ORDER BY next_attempt_at LIMIT $2::bigint * 4), \
    due AS (SELECT d.room_id FROM oldest o JOIN webhook_deliveries d ON d.webhook_id = $1 AND d.room_id = o.room_id \
        AND d.upto_seq = o.upto_seq \
      WHERE d.dead_at IS NULL AND d.next_attempt_at <= now() LIMIT $2 FOR UPDATE OF d SKIP LOCKED), \
    first AS (SELECT n.* FROM due CROSS JOIN LATERAL (SELECT w.room_id, w.upto_seq, w.next_attempt_at \
      FROM webhook_deliveries w WHERE w.webhook_id = $1 AND w.room_id = due.room_id AND w.dead_at IS NULL \
      ORDER BY w.upto_seq LIMIT $4) n), \
    run AS (SELECT f.room_id, f.upto_seq FROM (SELECT room_id, upto_seq, \
        bool_or(next_attempt_at > now()) OVER (PARTITION BY room_id ORDER BY upto_seq) AS is_held_back FROM first) f \
      WHERE NOT f.is_held_back) \
    UPDATE webhook_deliveries d SET claims = d.claims + 1, next_attempt_at = now() + make_interval(secs => $3::float8) \
    FROM run WHERE d.webhook_id = $1 AND d.room_id = run.room_id AND d.upto_seq = run.upto_seq \
    RETURNING d.room_id AS room, d.after_seq AS after, d.upto_seq AS upto, d.attempts, d.claims";

/// Due events, each on its own. `$4` is not used, so that both statements have the same parameters.
const CLAIM_ANY_SQL: &str = "WITH due AS (SELECT d.room_id, d.upto_seq FROM webhook_deliveries d \
      WHERE d.webhook_id = $1 AND d.dead_at IS NULL AND d.next_attempt_at <= now() AND $4::bigint > 0 \
      ORDER BY d.next_attempt_at LIMIT $2 FOR UPDATE OF d SKIP LOCKED) \
    UPDATE webhook_deliveries d SET claims = d.claims + 1, next_attempt_at = now() + make_interval(secs => $3::float8) \
    FROM due WHERE d.webhook_id = $1 AND d.room_id = due.room_id AND d.upto_seq = due.upto_seq \
    RETURNING d.room_id AS room, d.after_seq AS after, d.upto_seq AS upto, d.attempts, d.claims";

/// Events of a room that are claimed together, and sent one after the other.
const RUN_EVENTS: i64 = 20;

/// Claims due deliveries of an endpoint for `lease`, in up to `limit` runs. With `ordered`, a run has the first events of
/// a room, in order; otherwise each event is a run of its own.
pub async fn claim(
    db: &impl ConnectionTrait,
    webhook: &str,
    ordered: bool,
    limit: usize,
    lease: Duration,
) -> Result<Vec<Vec<Claim>>, DbErr> {
    let sql = if ordered { CLAIM_ORDERED_SQL } else { CLAIM_ANY_SQL };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = [webhook.into(), limit.into(), lease.as_secs_f64().into(), RUN_EVENTS.into()];
    let mut claims = Claim::find_by_statement(statement(sql, values)).all(db).await?;
    if !ordered {
        return Ok(claims.into_iter().map(|claim| vec![claim]).collect());
    }
    claims.sort_by(|a, b| (&a.room.0, a.upto).cmp(&(&b.room.0, b.upto)));
    let mut runs: Vec<Vec<Claim>> = Vec::new();
    for claim in claims {
        match runs.last_mut() {
            Some(run) if run.iter().all(|before| before.room.0 == claim.room.0) => run.push(claim),
            _ => runs.push(vec![claim]),
        }
    }
    Ok(runs)
}

/// Removes deliveries of a room that succeeded. It does not matter who has claimed them since, so no fencing token is
/// checked.
pub async fn complete(db: &impl ConnectionTrait, webhook: &str, run: &[Claim]) -> Result<(), DbErr> {
    let Some(first) = run.first() else { return Ok(()) };
    let sql = "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND room_id = $2 AND upto_seq = ANY ($3) \
        AND dead_at IS NULL";
    let values = [webhook.into(), first.room.0.as_str().into(), column(run, |claim| claim.upto)];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// Gives up claims of a room without an attempt.
pub async fn release(db: &impl ConnectionTrait, webhook: &str, run: &[Claim]) -> Result<(), DbErr> {
    let Some(first) = run.first() else { return Ok(()) };
    let sql = "UPDATE webhook_deliveries d SET next_attempt_at = now() \
        FROM unnest($3::bigint[], $4::integer[]) AS c (upto, claims) WHERE d.webhook_id = $1 AND d.room_id = $2 \
        AND d.upto_seq = c.upto AND d.claims = c.claims AND d.dead_at IS NULL";
    let values = [
        webhook.into(),
        first.room.0.as_str().into(),
        column(run, |claim| claim.upto),
        column(run, |claim| claim.claims),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    RetryAfter(Duration),
    /// The attempt does not count, because the endpoint is disabled.
    Postpone,
    Die,
}

/// Records a failed attempt. Returns whether nobody has claimed the delivery since.
pub async fn fail(
    db: &impl ConnectionTrait,
    webhook: &str,
    claim: &Claim,
    next: NextStep,
    (status, error): (Option<u16>, &str),
) -> Result<bool, DbErr> {
    let sql = "UPDATE webhook_deliveries SET attempts = attempts + $8, \
          next_attempt_at = now() + make_interval(secs => COALESCE($5::float8, 0)), \
          dead_at = CASE WHEN $5::float8 IS NULL THEN now() END, last_status = $6, last_error = $7 \
        WHERE webhook_id = $1 AND room_id = $2 AND upto_seq = $3 AND claims = $4 AND dead_at IS NULL";
    let delay = match next {
        NextStep::RetryAfter(delay) => Some(delay.as_secs_f64()),
        NextStep::Postpone => Some(0.0),
        NextStep::Die => None,
    };
    let values = [
        webhook.into(),
        claim.room.0.as_str().into(),
        claim.upto.into(),
        claim.claims.into(),
        delay.into(),
        status.map(i32::from).into(),
        error.into(),
        i32::from(next != NextStep::Postpone).into(),
    ];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() == 1)
}
