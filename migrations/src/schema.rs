//! The commands that change the schema: apply or revert migrations, list them, and start from an empty database.
//! Opens one connection and holds an advisory lock on it, so that two jobs that start at the same time run one after
//! the other. Prints nothing; each command returns what it did.

use std::time::Duration;

use anyhow::{Context, ensure};
use sea_orm_migration::Migration;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbBackend, RuntimeErr, SqlxError, Statement,
};

use crate::Migrator;
use crate::feed::{TURN_OFF, TURN_ON};
use crate::online::SET_SHORT_LOCK_TIMEOUT;

/// Key of the advisory lock: "tidings" in ASCII. Any constant works, but it must never change.
const MIGRATION_LOCK_KEY: i64 = 0x0074_6964_696e_6773;

/// Pause between two attempts to take the migration lock.
const MIGRATION_LOCK_PAUSE: Duration = Duration::from_millis(500);
/// Maximum number of attempts of a migration that gets no lock in time. With the waits and pauses they take about ten
/// minutes.
const MAX_LOCK_ATTEMPTS: u32 = 150;
const LOCK_RETRY_PAUSE: Duration = Duration::from_secs(3);
/// SQLSTATEs of a lock that was not available in time, and of a deadlock.
const LOCK_FAILURE_SQLSTATES: [&str; 2] = ["55P03", "40P01"];

/// Lets only the owner of the table `seaql_migrations`, the list of applied migrations, write to it. Default privileges
/// let the role of the services write every new table; with write access to this list, that role could skip or repeat
/// migrations.
const REVOKE_WRITES_TO_MIGRATION_LIST: &str = "DO $$
DECLARE grantee oid;
BEGIN
  FOR grantee IN
    SELECT DISTINCT acl.grantee FROM pg_class, aclexplode(relacl) acl
    WHERE pg_class.oid = to_regclass('seaql_migrations') AND acl.grantee <> relowner
      AND acl.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
  LOOP
    EXECUTE 'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON seaql_migrations FROM '
      || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END;
  END LOOP;
END
$$";

/// A connection that holds the migration lock. Until it is dropped, no other job can change the schema of the database.
pub struct LockedSchema {
    db: DatabaseConnection,
}

impl LockedSchema {
    /// Connects and waits until no other job holds the migration lock.
    pub async fn open(database_url: &str) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new(database_url);
        // The pool has exactly one connection, because an advisory lock belongs to the connection that took it.
        options.min_connections(1).max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.context("cannot connect to the database")?;
        // Polls for the lock instead of waiting in a statement. The other job may build an index concurrently, which
        // waits for all earlier statements; a statement that waits for that job would cause a deadlock.
        while !try_lock(&db).await.context("cannot take the migration lock")? {
            tokio::time::sleep(MIGRATION_LOCK_PAUSE).await;
        }
        db.execute_unprepared(SET_SHORT_LOCK_TIMEOUT).await.context("cannot limit the wait for locks")?;
        Ok(Self { db })
    }

    /// Applies the pending migrations and returns their names; empty if none is pending. A schema that has all
    /// migrations of this version and some of a later version stays unchanged, because a rollback to an earlier version
    /// keeps the schema. Also lets only the owner write the list of applied migrations. A migration that fails changes
    /// nothing or is finished by the next run, and the migrations before it stay applied.
    pub async fn up(&self) -> anyhow::Result<Vec<String>> {
        let applied = self.applied_migrations().await?;
        if applied.iter().any(|name| !is_known(name)) {
            let missing: Vec<String> = known_migrations().filter(|name| !applied.contains(name)).collect();
            ensure!(
                missing.is_empty(),
                "the schema belongs to another line of versions: it lacks {missing:?} and has migrations that this version does not know"
            );
            self.protect_migration_list().await?;
            return Ok(Vec::new());
        }
        let pending = migration_names(Migrator::get_pending_migrations(&self.db).await?);
        with_lock_retries(|| Migrator::up(&self.db, None)).await.context("a migration failed")?;
        self.protect_migration_list().await?;
        Ok(pending)
    }

    /// Reverts the last `steps` migrations, or all if None, with their data, and returns their names. Fails if a
    /// migration of a later version is applied, because only that version can revert it.
    pub async fn down(&self, steps: Option<u32>) -> anyhow::Result<Vec<String>> {
        let later: Vec<String> =
            self.applied_migrations().await?.into_iter().filter(|name| !is_known(name)).collect();
        ensure!(later.is_empty(), "only the version that added these migrations can revert them: {later:?}");
        let mut applied = migration_names(Migrator::get_applied_migrations(&self.db).await?);
        applied.reverse();
        applied.truncate(steps.map_or(usize::MAX, |steps| steps as usize));
        // Reverts one migration at a time, so that a retry does not revert more than `steps`.
        for _ in &applied {
            with_lock_retries(|| Migrator::down(&self.db, Some(1)))
                .await
                .context("a migration cannot be reverted")?;
        }
        Ok(applied)
    }

    /// The name of each migration and whether it is applied; migrations of later versions come last. Changes nothing.
    pub async fn status(&self) -> anyhow::Result<Vec<(String, bool)>> {
        let applied = self.applied_migrations().await?;
        let own: Vec<_> = known_migrations().map(|name| (name.clone(), applied.contains(&name))).collect();
        let later = applied.into_iter().filter(|name| !is_known(name)).map(|name| (name, true));
        Ok(own.into_iter().chain(later).collect())
    }

    /// The names of all applied migrations, including migrations that this version does not contain.
    async fn applied_migrations(&self) -> anyhow::Result<Vec<String>> {
        let query = |text: &str| Statement::from_string(DbBackend::Postgres, text);
        let exists = query("SELECT to_regclass('seaql_migrations') IS NOT NULL");
        let exists = self.db.query_one_raw(exists).await?.map(|row| row.try_get_by_index(0)).transpose()?;
        if exists != Some(true) {
            return Ok(Vec::new());
        }
        let rows =
            self.db.query_all_raw(query("SELECT version FROM seaql_migrations ORDER BY version")).await?;
        Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
    }

    /// Drops every table of the schema, also tables of other programs, and applies all migrations.
    pub async fn recreate(&self) -> anyhow::Result<Vec<String>> {
        with_lock_retries(|| Migrator::fresh(&self.db)).await.context("cannot start anew")?;
        self.protect_migration_list().await?;
        Ok(migration_names(Migrator::get_applied_migrations(&self.db).await?))
    }

    /// Turns the feed on or off. Changes nothing if it is already so.
    pub async fn set_feed(&self, on: bool) -> anyhow::Result<()> {
        let sql = if on { TURN_ON } else { TURN_OFF };
        with_lock_retries(|| async { self.db.execute_unprepared(sql).await.map(drop) })
            .await
            .context("cannot switch the feed; are all migrations applied?")
    }

    async fn protect_migration_list(&self) -> anyhow::Result<()> {
        self.db
            .execute_unprepared(REVOKE_WRITES_TO_MIGRATION_LIST)
            .await
            .context("cannot guard the list of migrations")?;
        Ok(())
    }
}

/// Takes the migration lock if no other job holds it.
async fn try_lock(db: &DatabaseConnection) -> Result<bool, DbErr> {
    let sql = format!("SELECT pg_try_advisory_lock({MIGRATION_LOCK_KEY})");
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// Runs `work`, and repeats it while it fails for a lock, up to `MAX_LOCK_ATTEMPTS` times.
async fn with_lock_retries<F: Future<Output = Result<(), DbErr>>>(work: impl Fn() -> F) -> Result<(), DbErr> {
    for _ in 1..MAX_LOCK_ATTEMPTS {
        match work().await {
            Err(error) if is_lock_failure(&error) => {
                tracing::warn!("a migration got no lock in time; it is retried");
                tokio::time::sleep(LOCK_RETRY_PAUSE).await;
            }
            done => return done,
        }
    }
    work().await
}

fn is_lock_failure(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return false;
    };
    matches!(cause.as_ref(), SqlxError::Database(error)
        if error.code().is_some_and(|state| LOCK_FAILURE_SQLSTATES.contains(&state.as_ref())))
}

/// Names of the migrations of this version.
fn known_migrations() -> impl Iterator<Item = String> {
    Migrator::migrations().into_iter().map(|migration| migration.name().to_owned())
}

fn is_known(name: &str) -> bool {
    known_migrations().any(|migration| migration == name)
}

fn migration_names(migrations: Vec<Migration>) -> Vec<String> {
    migrations.iter().map(|m| m.name().to_owned()).collect()
}
