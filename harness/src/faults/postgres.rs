//! What may be wrong with a PostgreSQL that runs.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::postgres::Database;

/// Ends all connections but the one that says so: what is set for a database holds from the next on.
const HANG_UP: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// `ALTER DATABASE` of the present one.
fn alter(what: &str) -> String {
    format!("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {what}', current_database()); END $$")
}

pub(super) async fn read_only(database: &Database, time: Duration) -> Result<()> {
    database.query(&format!("{}; {HANG_UP}", alter("SET default_transaction_read_only = on"))).await?;
    sleep(time).await;
    // Sessions that began meanwhile stay as they are: nobody hangs them up when another server takes over.
    let writable = "SET TRANSACTION READ WRITE";
    database.query(&format!("{writable}; {}", alter("RESET default_transaction_read_only"))).await?;
    Ok(())
}

/// SQLSTATE 53100, as a disk that is full gives.
pub(super) async fn full(database: &Database, time: Duration) -> Result<()> {
    let full = "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
        CREATE TRIGGER disk_full BEFORE INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION disk_full()";
    database.query(full).await?;
    sleep(time).await;
    database.query("DROP FUNCTION disk_full CASCADE").await?;
    Ok(())
}

pub(super) async fn locked(database: &Database, time: Duration) -> Result<()> {
    let seconds = time.as_secs_f64();
    let lock =
        format!("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT");
    database.query(&lock).await?;
    Ok(())
}
