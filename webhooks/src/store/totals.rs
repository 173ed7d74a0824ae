//! Numbers of deliveries, for limits and metrics.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_persistence::sql::statement;

/// The deliveries of one endpoint.
#[derive(Debug, Default, Clone, Copy, FromQueryResult)]
pub struct Totals {
    pub pending: i64,
    pub dead: i64,
    /// Seconds since the oldest waiting delivery was queued; 0 if no delivery waits.
    pub oldest_pending_s: f64,
}

const TOTALS: &str = "count(*) FILTER (WHERE dead_at IS NULL) AS pending, \
    count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead, \
    COALESCE(extract(epoch FROM now() - min(queued_at) FILTER (WHERE dead_at IS NULL)), 0)::float8 AS oldest_pending_s";

#[derive(FromQueryResult)]
struct EndpointTotals {
    webhook_id: String,
    #[sea_orm(nested)]
    totals: Totals,
}

/// The numbers of one endpoint.
pub async fn of_endpoint(db: &impl ConnectionTrait, webhook: &str) -> Result<Totals, DbErr> {
    let sql = format!("SELECT {TOTALS} FROM webhook_deliveries WHERE webhook_id = $1 GROUP BY webhook_id");
    let totals = Totals::find_by_statement(statement(&sql, [webhook.into()])).one(db).await?;
    Ok(totals.unwrap_or_default())
}

/// The numbers of all endpoints that have deliveries.
pub async fn of_all(db: &impl ConnectionTrait) -> Result<BTreeMap<String, Totals>, DbErr> {
    let sql = format!("SELECT webhook_id, {TOTALS} FROM webhook_deliveries GROUP BY webhook_id");
    let all = EndpointTotals::find_by_statement(statement(&sql, [])).all(db).await?;
    Ok(all.into_iter().map(|of| (of.webhook_id, of.totals)).collect())
}
