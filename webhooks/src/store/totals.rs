//! Numbers of deliveries, for limits and metrics.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tidings_persistence::sql::statement;

/// The deliveries of one endpoint.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub pending: i64,
    pub dead: i64,
    /// Seconds since the oldest waiting delivery was queued; 0 if no delivery waits.
    pub oldest_pending_s: f64,
}

const TOTALS: &str = "webhook_id, count(*) FILTER (WHERE dead_at IS NULL) AS pending, \
    count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead, \
    COALESCE(extract(epoch FROM now() - min(queued_at) FILTER (WHERE dead_at IS NULL)), 0)::float8 AS oldest";

fn totals(row: &QueryResult) -> Result<(String, Totals), DbErr> {
    let totals = Totals {
        pending: row.try_get_by("pending")?,
        dead: row.try_get_by("dead")?,
        oldest_pending_s: row.try_get_by("oldest")?,
    };
    Ok((row.try_get_by("webhook_id")?, totals))
}

/// The numbers of one endpoint.
pub async fn of_endpoint(db: &impl ConnectionTrait, webhook: &str) -> Result<Totals, DbErr> {
    let sql = format!("SELECT {TOTALS} FROM webhook_deliveries WHERE webhook_id = $1 GROUP BY webhook_id");
    let row = db.query_one_raw(statement(&sql, [webhook.into()])).await?;
    Ok(row.as_ref().map(totals).transpose()?.map(|(_, totals)| totals).unwrap_or_default())
}

/// The numbers of all endpoints that have deliveries.
pub async fn of_all(db: &impl ConnectionTrait) -> Result<BTreeMap<String, Totals>, DbErr> {
    let sql = format!("SELECT {TOTALS} FROM webhook_deliveries GROUP BY webhook_id");
    db.query_all_raw(statement(&sql, [])).await?.iter().map(totals).collect()
}
