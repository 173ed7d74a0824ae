//! The commands of the binary: apply, take back, list, start anew.
//! Opens one connection and holds an advisory lock on it, so that two jobs started at once take
//! turns. Promises to print nothing; what was done is the answer.

use anyhow::{Context, ensure};
use sea_orm_migration::Migration;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, Statement};

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

    /// Applies what is not applied yet and returns its names; empty when there was nothing to do. A schema that a later
    /// version has made of all that this one knows is left as it is: a version is rolled back without its schema. Nobody
    /// but the owner may write the list of what is applied afterwards.
    ///
    /// # Errors
    /// When a migration fails; those before it stay applied, it itself leaves nothing.
    pub async fn up(&self) -> anyhow::Result<Vec<String>> {
        let applied = self.applied().await?;
        if applied.iter().any(|name| !is_known(name)) {
            let missing: Vec<String> = known().filter(|name| !applied.contains(name)).collect();
            ensure!(
                missing.is_empty(),
                "the schema is of another line of versions: it has not {missing:?}, and more that is unknown here"
            );
            self.guard().await?;
            return Ok(Vec::new());
        }
        let pending = names(Migrator::get_pending_migrations(&self.db).await?);
        Migrator::up(&self.db, None).await.context("a migration failed")?;
        self.guard().await?;
        Ok(pending)
    }

    /// Takes back the last `steps` migrations (all when `None`), data included; returns their names.
    ///
    /// # Errors
    /// When a migration cannot be taken back, or one is applied that only a later version can take back.
    pub async fn down(&self, steps: Option<u32>) -> anyhow::Result<Vec<String>> {
        let later: Vec<String> = self.applied().await?.into_iter().filter(|name| !is_known(name)).collect();
        ensure!(later.is_empty(), "only the version that brought them can take these back: {later:?}");
        let mut applied = names(Migrator::get_applied_migrations(&self.db).await?);
        applied.reverse();
        applied.truncate(steps.map_or(usize::MAX, |steps| steps as usize));
        Migrator::down(&self.db, steps).await.context("a migration cannot be taken back")?;
        Ok(applied)
    }

    /// Each migration with whether it is applied, those of later versions last. Changes nothing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status(&self) -> anyhow::Result<Vec<(String, bool)>> {
        let applied = self.applied().await?;
        let own: Vec<_> = known().map(|name| (name.clone(), applied.contains(&name))).collect();
        let later = applied.into_iter().filter(|name| !is_known(name)).map(|name| (name, true));
        Ok(own.into_iter().chain(later).collect())
    }

    /// What the database says is applied, by whichever version.
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
