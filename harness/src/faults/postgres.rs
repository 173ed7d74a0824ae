//! What may be wrong with a PostgreSQL that runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::postgres::{Database, ROLE};

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

/// Others take all connections that are left once ours were ended.
pub(super) async fn crowded(database: &Database, time: Duration) -> Result<()> {
    let slots: usize = database.value("SHOW max_connections").await?.parse()?;
    let mut crowd = Vec::with_capacity(slots);
    for _ in 0..slots {
        let mut stream = TcpStream::connect(("127.0.0.1", database.server().port())).await?;
        let mut parameters = Vec::new();
        for text in ["user", ROLE, "database", "postgres"] {
            parameters.extend_from_slice(text.as_bytes());
            parameters.push(0);
        }
        parameters.push(0);
        let length = u32::try_from(parameters.len() + 8)?;
        let mut startup = [length.to_be_bytes(), 196_608_u32.to_be_bytes()].concat();
        startup.extend_from_slice(&parameters);
        stream.write_all(&startup).await?;
        crowd.push(stream);
    }
    // Theirs are there; ours go and do not come back. One of the reserved is left to say so.
    let hung_up = database.query(HANG_UP).await;
    sleep(time).await;
    drop(crowd);
    ensure!(hung_up.is_ok() || hung_up.is_err_and(|error| error.to_string().contains("connection")));
    Ok(())
}

pub(super) async fn locked(database: &Database, time: Duration) -> Result<()> {
    let seconds = time.as_secs_f64();
    let lock =
        format!("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT");
    database.query(&lock).await?;
    Ok(())
}
