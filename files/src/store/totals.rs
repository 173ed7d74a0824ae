//! Counts files for the metrics.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_persistence::sql::statement;

use crate::file::FileState;

/// The number and the bytes of the files in a state.
#[derive(Debug, Clone, Copy)]
pub struct StateTotal {
    pub state: FileState,
    pub files: i64,
    pub bytes: i64,
}

/// The totals of the states that have files.
pub async fn by_state(db: &impl ConnectionTrait) -> Result<Vec<StateTotal>, DbErr> {
    let sql =
        "SELECT state, count(*) AS files, COALESCE(sum(size), 0)::bigint AS bytes FROM files GROUP BY state";
    let rows = db.query_all_raw(statement(sql, [])).await?;
    let total = |row: &sea_orm::QueryResult| {
        let state: String = row.try_get_by("state")?;
        let state = FileState::parse(&state).ok_or_else(|| DbErr::Custom(format!("state {state}")))?;
        Ok(StateTotal { state, files: row.try_get_by("files")?, bytes: row.try_get_by("bytes")? })
    };
    rows.iter().map(total).collect()
}
