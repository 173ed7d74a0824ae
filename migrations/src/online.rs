//! Migrations of large tables while a service runs: the steps run without a common transaction, so no lock is held
//! longer than one step. A migration that stops in the middle is run again from its first step, so each step must be
//! repeatable.

use async_trait::async_trait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DbBackend, Statement};

/// Limits the wait for a lock to a second. Then the migration fails and is retried. While a migration waits for an
/// exclusive lock, all later statements on the table wait too, including those that store messages.
pub(crate) const SET_SHORT_LOCK_TIMEOUT: &str = "SET lock_timeout = '1s'";
const CLEAR_LOCK_TIMEOUT: &str = "SET lock_timeout = 0";

/// A step of an [`OnlineMigration`].
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// One statement, which has no effect if it is repeated.
    Sql(&'static str),
    /// Builds the index `name` while rows are written. `create` is a `CREATE INDEX CONCURRENTLY`. Skipped if the index
    /// is valid. The invalid index of a failed build is dropped first.
    Index { name: &'static str, create: &'static str },
}

/// A migration whose steps run one after the other, without a common transaction.
pub(crate) struct OnlineMigration {
    pub name: &'static str,
    pub up: &'static [Step],
    pub down: &'static [Step],
}

impl MigrationName for OnlineMigration {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait]
impl MigrationTrait for OnlineMigration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run_steps(manager.get_connection(), self.up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run_steps(manager.get_connection(), self.down).await
    }
}

async fn run_steps(db: &SchemaManagerConnection<'_>, steps: &[Step]) -> Result<(), DbErr> {
    for step in steps {
        match step {
            Step::Sql(sql) => db.execute_unprepared(sql).await.map(|_| ())?,
            Step::Index { name, create } => build_index(db, name, create).await?,
        }
    }
    Ok(())
}

/// Waits for locks without a time limit, because a waiting build delays no other statement, and an aborted build must
/// start again.
async fn build_index(db: &SchemaManagerConnection<'_>, name: &str, create: &str) -> Result<(), DbErr> {
    let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    let query = Statement::from_sql_and_values(DbBackend::Postgres, sql, [name.into()]);
    let valid = db.query_one_raw(query).await?.map(|row| row.try_get_by_index::<bool>(0)).transpose()?;
    if valid == Some(true) {
        return Ok(());
    }
    db.execute_unprepared(CLEAR_LOCK_TIMEOUT).await?;
    if valid == Some(false) {
        db.execute_unprepared(&format!("DROP INDEX CONCURRENTLY {name}")).await?;
    }
    let built = db.execute_unprepared(create).await;
    // The lock timeout is restored even after a failure, because a retry uses the same connection.
    db.execute_unprepared(SET_SHORT_LOCK_TIMEOUT).await?;
    built.map(drop)
}
