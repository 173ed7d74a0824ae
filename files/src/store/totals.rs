//! Counts files for the metrics.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_persistence::sql::statement;

use crate::file::FileState;

/// The number and the bytes of the files in a state.
#[derive(Debug, Clone, Copy, FromQueryResult)]
pub struct StateTotal {
    pub state: FileState,
    pub files: i64,
    pub bytes: i64,
}

/// The totals of the states that have files.
pub async fn by_state(db: &impl ConnectionTrait) -> Result<Vec<StateTotal>, DbErr> {
    let sql =
        "SELECT state, count(*) AS files, COALESCE(sum(size), 0)::bigint AS bytes FROM files GROUP BY state";
    StateTotal::find_by_statement(statement(sql, [])).all(db).await
}
