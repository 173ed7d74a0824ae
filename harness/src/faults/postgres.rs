//! Faults inside a running PostgreSQL.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::postgres::Database;

/// Terminates all other connections to the current database, because its settings apply to new connections only.
const TERMINATE_OTHERS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// `ALTER DATABASE` for the current database.
fn alter_database_sql(what: &str) -> String {
    format!("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {what}', current_database()); END $$")
}

pub(super) async fn make_read_only(database: &Database, time: Duration) -> Result<()> {
    database
        .query(&format!(
            "{}; {TERMINATE_OTHERS}",
            alter_database_sql("SET default_transaction_read_only = on")
        ))
        .await?;
    sleep(time).await;
    // Sessions that began during the fault stay read-only. They are not terminated, as after a real failover.
    let writable = "SET TRANSACTION READ WRITE";
    database
        .query(&format!("{writable}; {}", alter_database_sql("RESET default_transaction_read_only")))
        .await?;
    Ok(())
}

/// Makes statements that insert messages fail with SQLSTATE 53100, as with a full disk.
pub(super) async fn fail_writes(database: &Database, time: Duration) -> Result<()> {
    let full = "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
        CREATE TRIGGER disk_full BEFORE INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION disk_full()";
    database.query(full).await?;
    sleep(time).await;
    database.query("DROP FUNCTION disk_full CASCADE").await?;
    Ok(())
}

pub(super) async fn lock_messages(database: &Database, time: Duration) -> Result<()> {
    let seconds = time.as_secs_f64();
    let lock =
        format!("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT");
    database.query(&lock).await?;
    Ok(())
}
