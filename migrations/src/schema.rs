//! The commands that change the schema: apply or revert migrations, list them, and start from an empty database.
//! Opens one connection and holds an advisory lock on it, so that two jobs that start at the same time run one after
//! the other. Prints nothing; each command returns what it did.

use anyhow::{Context, ensure};
use sea_orm_migration::Migration;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, Statement};

use crate::Migrator;

/// Key of the advisory lock: "tidings" in ASCII. Any constant works, but it must never change.
const LOCK: i64 = 0x0074_6964_696e_6773;

/// Lets only the owner of the table `seaql_migrations` write that list of applied migrations. Default privileges let
/// the role of the services write every new table; with write access to this list, that role could skip or repeat
/// migrations.
const GUARD: &str = "DO $$
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
pub struct Schema {
    db: DatabaseConnection,
}

impl Schema {
    /// Connects and waits until no other job holds the migration lock.
    pub async fn open(database_url: &str) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new(database_url);
        // The pool has exactly one connection, because an advisory lock belongs to the connection that took it.
        options.min_connections(1).max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.context("cannot connect to the database")?;
        db.execute_unprepared(&format!("SELECT pg_advisory_lock({LOCK})"))
            .await
            .context("cannot take the migration lock")?;
        Ok(Self { db })
    }

    /// Applies the pending migrations and returns their names; empty if none is pending. A schema that has all
    /// migrations of this version and some of a later version stays unchanged, because a rollback to an earlier version
    /// keeps the schema. Also lets only the owner write the list of applied migrations. A migration that fails changes
    /// nothing, and the migrations before it stay applied.
    pub async fn up(&self) -> anyhow::Result<Vec<String>> {
        let applied = self.applied().await?;
        if applied.iter().any(|name| !is_known(name)) {
            let missing: Vec<String> = known().filter(|name| !applied.contains(name)).collect();
            ensure!(
                missing.is_empty(),
                "the schema belongs to another line of versions: it lacks {missing:?} and has migrations that this version does not know"
            );
            self.guard().await?;
            return Ok(Vec::new());
        }
        let pending = names(Migrator::get_pending_migrations(&self.db).await?);
        Migrator::up(&self.db, None).await.context("a migration failed")?;
        self.guard().await?;
        Ok(pending)
    }

    /// Reverts the last `steps` migrations, or all if None, with their data, and returns their names. Fails if a
    /// migration of a later version is applied, because only that version can revert it.
    pub async fn down(&self, steps: Option<u32>) -> anyhow::Result<Vec<String>> {
        let later: Vec<String> = self.applied().await?.into_iter().filter(|name| !is_known(name)).collect();
        ensure!(later.is_empty(), "only the version that added these migrations can revert them: {later:?}");
        let mut applied = names(Migrator::get_applied_migrations(&self.db).await?);
        applied.reverse();
        applied.truncate(steps.map_or(usize::MAX, |steps| steps as usize));
        Migrator::down(&self.db, steps).await.context("a migration cannot be reverted")?;
        Ok(applied)
    }

    /// The name of each migration and whether it is applied; migrations of later versions come last. Changes nothing.
    pub async fn status(&self) -> anyhow::Result<Vec<(String, bool)>> {
        let applied = self.applied().await?;
        let own: Vec<_> = known().map(|name| (name.clone(), applied.contains(&name))).collect();
        let later = applied.into_iter().filter(|name| !is_known(name)).map(|name| (name, true));
        Ok(own.into_iter().chain(later).collect())
    }

    /// The names of all applied migrations, also of those that this version does not contain.
    async fn applied(&self) -> anyhow::Result<Vec<String>> {
        let ask = |text: &str| Statement::from_string(DbBackend::Postgres, text);
        let there = ask("SELECT to_regclass('seaql_migrations') IS NOT NULL");
        let there = self.db.query_one_raw(there).await?.map(|row| row.try_get_by_index(0)).transpose()?;
        if there != Some(true) {
            return Ok(Vec::new());
        }
        let rows =
            self.db.query_all_raw(ask("SELECT version FROM seaql_migrations ORDER BY version")).await?;
        Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
    }

    /// Drops every table of the schema, also tables of other programs, and applies all migrations.
    pub async fn fresh(&self) -> anyhow::Result<Vec<String>> {
        Migrator::fresh(&self.db).await.context("cannot start anew")?;
        self.guard().await?;
        Ok(names(Migrator::get_applied_migrations(&self.db).await?))
    }

    async fn guard(&self) -> anyhow::Result<()> {
        self.db.execute_unprepared(GUARD).await.context("cannot guard the list of migrations")?;
        Ok(())
    }
}

/// Names of the migrations of this version.
fn known() -> impl Iterator<Item = String> {
    Migrator::migrations().into_iter().map(|migration| migration.name().to_owned())
}

fn is_known(name: &str) -> bool {
    known().any(|known| known == name)
}

fn names(migrations: Vec<Migration>) -> Vec<String> {
    migrations.iter().map(|m| m.name().to_owned()).collect()
}
