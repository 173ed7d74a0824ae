//! Makes and executes SQL statements, and converts their values, for all modules with SQL.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, PgConnection};
use sea_orm::{
    ColIdx, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, QueryResult, SqlxError, Statement,
    TryGetError, TryGetable, Value,
};
use tidings_shared::{
    ids::{Epoch, IdError, RoomId, Seq, UserId},
    log::keys::Partition,
    role::{MinRole, RANKS},
    sabotage,
};

/// The newest epoch of the partition `$partition`, or NULL. A row without partitions is an epoch of all partitions.
macro_rules! newest_epoch {
    ($partition:literal) => {
        concat!(
            "(SELECT o.epoch FROM epochs_opened o WHERE o.partitions IS NULL OR ",
            $partition,
            " = ANY (o.partitions) ORDER BY o.epoch DESC LIMIT 1)"
        )
    };
}

pub(crate) use newest_epoch;

/// Makes a statement for PostgreSQL. The values replace `$1`, `$2` and so on.
pub fn statement(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sabotage::without_rules(sql), values)
}

/// Reads the only column of the first row. None if there is no row.
pub async fn scalar<T: TryGetable>(db: &impl ConnectionTrait, sql: Statement) -> Result<Option<T>, DbErr> {
    db.query_one_raw(sql).await?.map(|row| row.try_get_by_index(0)).transpose()
}

/// Reads the only column of all rows.
pub async fn scalars<T: TryGetable>(db: &impl ConnectionTrait, sql: Statement) -> Result<Vec<T>, DbErr> {
    db.query_all_raw(sql).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// An identifier in a column of text. A row whose text is not a valid identifier is an error.
#[derive(Debug, Clone)]
pub struct IdColumn<T>(pub T);

impl<T: TryFrom<String, Error = IdError>> TryGetable for IdColumn<T> {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        let id = T::try_from(String::try_get_by(row, index)?);
        id.map(Self).map_err(|error| DbErr::Custom(format!("{index:?}: {error}")).into())
    }
}

/// Collects one column of many rows into an array parameter.
pub fn column<T, V>(rows: &[T], of: impl Fn(&T) -> V) -> Value
where
    Vec<V>: Into<Value>,
{
    rows.iter().map(of).collect::<Vec<V>>().into()
}

/// Separates the items of a list that is an element of an array parameter. No id and no role contains it.
pub const LIST_SEPARATOR: &str = "\u{1e}";

/// A list of users as an element of an array parameter. No users are an empty text, which needs no allocation.
pub fn join_users(users: Option<&[UserId]>) -> String {
    users.unwrap_or_default().iter().map(UserId::as_str).collect::<Vec<_>>().join(LIST_SEPARATOR)
}

/// Executes a statement that writes `count` rows, whose columns are the array parameters `values`. Does nothing if
/// there are no rows.
pub async fn write_rows<const N: usize>(
    transaction: &DatabaseTransaction,
    count: usize,
    sql: &str,
    values: [Value; N],
) -> Result<(), DbErr> {
    if count == 0 {
        return Ok(());
    }
    transaction.execute_raw(statement(sql, values)).await.map(drop)
}

/// An SQL expression for the rank of the role in a column. Higher roles have higher ranks.
pub fn role_rank_sql(column: &str) -> String {
    let named = RANKS.map(|(role, rank)| format!(" WHEN '{role}' THEN {}", rank as i32)).concat();
    format!("CASE {column}{named} ELSE {} END", MinRole::Member as i32)
}

/// Whether the server accepts writes on this connection: it is not a replica, and not read-only.
pub async fn accepts_writes(connection: &mut PgConnection) -> Result<bool, SqlxError> {
    let read_only: String = sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection).await?;
    Ok(read_only == "off")
}

/// Converts a seq or epoch for PostgreSQL. Both are counted up from 1 and never exceed `i64::MAX`.
pub fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn smallint(partition: Partition) -> i16 {
    i16::try_from(partition.0).expect("partitions are fewer than 2^15")
}

/// Converts milliseconds since the Unix epoch; a time outside of chrono's range becomes 1970.
pub fn timestamp_from_ms(at_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at_ms).unwrap_or_default()
}

/// Reads a seq from a column. Err if the number is negative.
pub fn seq_column(row: &QueryResult, column: &str) -> Result<Seq, DbErr> {
    Ok(Seq(to_unsigned(row.try_get_by(column)?)?))
}

/// Reads an epoch from a column. Err if the number is negative.
pub fn epoch_column(row: &QueryResult, column: &str) -> Result<Epoch, DbErr> {
    Ok(Epoch(to_unsigned(row.try_get_by(column)?)?))
}

/// Reads a room id from a column. Err if the text is not a valid id.
pub fn room_column(row: &QueryResult, column: &str) -> Result<RoomId, DbErr> {
    row.try_get_by::<IdColumn<_>, _>(column).map(|id| id.0)
}

/// Reads a user id from a column. Err if the text is not a valid id.
pub fn user_column(row: &QueryResult, column: &str) -> Result<UserId, DbErr> {
    row.try_get_by::<IdColumn<_>, _>(column).map(|id| id.0)
}

/// Reads the number of a partition from a column. Err if the number is negative.
pub fn partition_column(row: &QueryResult, column: &str) -> Result<Partition, DbErr> {
    let number: i16 = row.try_get_by(column)?;
    u16::try_from(number).map(Partition).map_err(|_| DbErr::Custom(format!("partition {number}")))
}

fn to_unsigned(number: i64) -> Result<u64, DbErr> {
    u64::try_from(number).map_err(|_| DbErr::Custom(format!("{number} is negative")))
}
