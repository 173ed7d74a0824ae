//! The commands of the binary: apply, take back, list, start anew.
//! Opens one connection and holds an advisory lock on it, so that two jobs started at once take
//! turns. Promises to print nothing; what was done is the answer.

use anyhow::Context;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_orm_migration::{Migration, MigrationStatus};

use crate::Migrator;

/// Key of the advisory lock: "tidings" in ASCII. Any constant does, as long as it never changes.
const LOCK: i64 = 0x0074_6964_696e_6773;

/// What is applied only the owner writes. Default privileges give the services' role the rows of every new table, and so
/// of the list of migrations: whoever has that role could have them left out or applied twice.
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

/// A database whose schema may be changed by this program alone as long as this value lives.
pub struct Schema {
    db: DatabaseConnection,
}

impl Schema {
    /// Connects and waits for the lock.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the login.
    pub async fn open(database_url: &str) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new(database_url);
        // Exactly one connection: an advisory lock belongs to the connection that took it.
        options.min_connections(1).max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.context("cannot connect to the database")?;
        db.execute_unprepared(&format!("SELECT pg_advisory_lock({LOCK})"))
            .await
            .context("cannot take the migration lock")?;
        Ok(Self { db })
    }

    /// Applies what is not applied yet and returns its names; empty when there was nothing to do. Nobody but the owner
    /// may write the list of what is applied afterwards.
    ///
    /// # Errors
    /// When a migration fails; those before it stay applied, it itself leaves nothing.
    pub async fn up(&self) -> anyhow::Result<Vec<String>> {
        let pending = names(Migrator::get_pending_migrations(&self.db).await?);
        Migrator::up(&self.db, None).await.context("a migration failed")?;
        self.guard().await?;
        Ok(pending)
    }

    /// Takes back the last `steps` migrations (all when `None`), data included; returns their names.
    ///
    /// # Errors
    /// When a migration cannot be taken back.
    pub async fn down(&self, steps: Option<u32>) -> anyhow::Result<Vec<String>> {
        let mut applied = names(Migrator::get_applied_migrations(&self.db).await?);
        applied.reverse();
        applied.truncate(steps.map_or(usize::MAX, |steps| steps as usize));
        Migrator::down(&self.db, steps).await.context("a migration cannot be taken back")?;
        Ok(applied)
    }

    /// Each migration with whether it is applied. Changes nothing.
    ///
    /// # Errors
    /// When the database holds a migration that this program does not know.
    pub async fn status(&self) -> anyhow::Result<Vec<(String, bool)>> {
        let migrations = Migrator::get_migration_with_status_read_only(&self.db).await?;
        Ok(migrations.iter().map(|m| (m.name().to_owned(), m.status() == MigrationStatus::Applied)).collect())
    }

    /// Drops every table of the schema, whosever it is, and applies all migrations.
    ///
    /// # Errors
    /// When dropping or applying fails.
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

fn names(migrations: Vec<Migration>) -> Vec<String> {
    migrations.iter().map(|m| m.name().to_owned()).collect()
}
