//! The numbers of the batches of this process. A number is committed with its batch, and at most once.

use sea_orm::{ConnectionTrait, DbErr};

use crate::sql::statement;

/// Minimum number of rows that each replica keeps in `batches`. A row must outlive every attempt that may insert the
/// same number again. Statements end after 10 s, and PostgreSQL commits far fewer than 1,000 batches per second.
const MIN_KEPT_NUMBERS: i64 = 10_000;

/// Names the next batch of this process.
///
/// A batch whose answer was lost may still be committed, also after later attempts have begun. All attempts have the
/// same number, so only one of them is committed. The number changes only when it is known to be committed.
#[derive(Debug)]
pub struct BatchNumber {
    replica: String,
    number: i64,
}

impl BatchNumber {
    /// `replica` is the name of this process, new at each start.
    #[must_use]
    pub fn first_of(replica: &str) -> Self {
        Self { replica: replica.to_owned(), number: 1 }
    }

    #[must_use]
    pub fn replica(&self) -> &str {
        &self.replica
    }

    #[must_use]
    pub fn value(&self) -> i64 {
        self.number
    }

    /// Whether PostgreSQL has lost the previous batch of this process: its number is missing.
    pub async fn is_previous_missing(&self, db: &impl ConnectionTrait) -> Result<bool, DbErr> {
        let sql = "SELECT $2::bigint > 1 AND NOT EXISTS ( \
                     SELECT FROM batches WHERE replica = $1 AND number = $2::bigint - 1) AS is_missing";
        let row =
            db.query_one_raw(statement(sql, [self.replica.as_str().into(), self.number.into()])).await?;
        row.map_or(Ok(false), |row| row.try_get_by("is_missing"))
    }

    /// Lets the next batch be written although the previous number is missing. Called when no partition is settled.
    pub async fn insert_previous(&self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let sql = "INSERT INTO batches (replica, number) VALUES ($1, $2::bigint - 1) ON CONFLICT DO NOTHING";
        db.execute_raw(statement(sql, [self.replica.as_str().into(), self.number.into()])).await.map(drop)
    }

    /// Moves to the next number, because a batch with the present number was committed.
    pub fn advance(&mut self) {
        self.number += 1;
    }
}

/// Deletes the numbers of a replica above `after` except the newest [`MIN_KEPT_NUMBERS`]. Returns the last deleted
/// number. The caller passes that number to the next call. So no call reads deleted rows again that PostgreSQL keeps
/// for a snapshot.
pub async fn delete_old_numbers(db: &impl ConnectionTrait, replica: &str, after: i64) -> Result<i64, DbErr> {
    let sql = "WITH last AS MATERIALIZED (SELECT max(number) - $3 AS number FROM batches WHERE replica = $1), \
                 deleted AS (DELETE FROM batches WHERE replica = $1 AND number > $2 \
                   AND number <= (SELECT number FROM last)) \
               SELECT GREATEST(number, $2) AS last FROM last";
    let row =
        db.query_one_raw(statement(sql, [replica.into(), after.into(), MIN_KEPT_NUMBERS.into()])).await?;
    row.map_or(Ok(after), |row| row.try_get_by("last"))
}

/// Deletes the numbers of replicas that have no row in `replicas`. A trigger deletes a replica's numbers with its row,
/// but a running batch may be committed after that.
pub async fn delete_numbers_without_replica(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let sql = "DELETE FROM batches b WHERE NOT EXISTS (SELECT FROM replicas r WHERE r.id = b.replica)";
    db.execute_raw(statement(sql, [])).await.map(drop)
}
