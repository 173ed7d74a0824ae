//! A fault: other clients use all connection slots of PostgreSQL, so no service can connect. To get there, a session
//! that connected first terminates the services' connections until the other clients have taken all slots.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::postgres::{Database, ROLE};

/// Terminates the connections of the services; returns their number.
const TERMINATE_SERVICE_CONNECTIONS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();";
/// Counts the connections of the services.
const COUNT_SERVICE_CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();";
/// Timeout for one answer of PostgreSQL.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// After this time the crowd stops taking slots. PostgreSQL starts a process for each slot, which is slow on a busy
/// machine, and clients wait only 40 s for their answers.
const CROWD_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) async fn take_all_connections(database: &Database, time: Duration) -> Result<()> {
    let mut session = PgConnection::connect(database.url()).await?;
    let port = database.server().port();
    let (mut crowd, begun) = (Vec::new(), Instant::now());
    loop {
        let ours = count(&mut session, TERMINATE_SERVICE_CONNECTIONS).await?;
        // A service may get a free slot before the other clients take it; the next round terminates its connection
        // again.
        while let Some(stream) = open_idle_connection(port).await? {
            crowd.push(stream);
            if begun.elapsed() > CROWD_TIMEOUT {
                eprintln!("a crowd of {} did not get all connections of PostgreSQL in time", crowd.len());
                return Ok(());
            }
        }
        if ours == 0 && count(&mut session, COUNT_SERVICE_CONNECTIONS).await? == 0 {
            break;
        }
        ensure!(
            begun.elapsed() < 2 * CROWD_TIMEOUT,
            "{ours} connections of ours are left among {}",
            crowd.len()
        );
        sleep(POLL_INTERVAL).await;
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        let ours = count(&mut session, COUNT_SERVICE_CONNECTIONS).await?;
        ensure!(ours == 0, "{ours} connections of ours came in, though all were taken");
        sleep(POLL_INTERVAL * 5).await;
    }
    ensure!(open_idle_connection(port).await?.is_none(), "a connection was free");
    Ok(())
}

/// Opens an idle connection. Returns `None` if PostgreSQL refuses it because all slots are taken.
async fn open_idle_connection(port: u16) -> Result<Option<TcpStream>> {
    let entering = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
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
        // `R` accepts the connection. The messages after it are not read.
        match stream.read_u8().await? {
            b'R' => Ok(Some(stream)),
            b'E' => {
                let mut error = Vec::new();
                stream.read_to_end(&mut error).await?;
                let error = String::from_utf8_lossy(&error);
                // 53300 is the SQLSTATE too_many_connections.
                ensure!(error.contains("53300"), "the crowd was refused: {error}");
                Ok(None)
            }
            other => bail!("a server that answers {other}"),
        }
    };
    timeout(WAIT_TIMEOUT, entering).await.context("the server does not answer the crowd")?
}

/// The count that a query returns.
async fn count(connection: &mut PgConnection, query: &'static str) -> Result<i64> {
    let answer = timeout(WAIT_TIMEOUT, sqlx::query_scalar(query).fetch_one(connection)).await;
    Ok(answer.context("PostgreSQL does not answer")??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Postgres;

    /// A client that reconnects whenever its connection is terminated, as a connection pool does.
    async fn reconnect_forever(url: String) {
        loop {
            // The test expects that the connection is refused or terminated.
            let _ = crate::postgres::sql(&url, "SELECT pg_sleep(60)").await;
            sleep(POLL_INTERVAL).await;
        }
    }

    #[tokio::test]
    async fn crowd_takes_every_connection() {
        let server = std::sync::Arc::new(Postgres::start().await.unwrap());
        let database = server.database().await.unwrap();
        let pool: Vec<_> =
            (0..10).map(|_| tokio::spawn(reconnect_forever(database.url().to_owned()))).collect();
        while database.value(COUNT_SERVICE_CONNECTIONS).await.unwrap() != "10" {
            sleep(POLL_INTERVAL).await;
        }
        let crowding = take_all_connections(&database, Duration::from_secs(3));
        let refused = async {
            let too_many = |error: anyhow::Error| error.to_string().contains("too many clients");
            while !database.value("SELECT 1").await.is_err_and(too_many) {
                sleep(POLL_INTERVAL).await;
            }
        };
        let (crowded, refused) = tokio::join!(crowding, timeout(WAIT_TIMEOUT, refused));
        crowded.unwrap();
        refused.unwrap();
        database.until(COUNT_SERVICE_CONNECTIONS, "10").await.unwrap();
        pool.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
