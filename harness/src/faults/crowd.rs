//! Makes other clients use all connections of PostgreSQL. A connection that exists before them terminates the services'
//! connections repeatedly, until the other clients have taken all slots; then no service can connect until they leave.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::postgres::{Database, ROLE, program};

/// Terminates the connections of the services; returns their number.
const END_OURS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();";
/// Counts the connections of the services.
const OURS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();";
/// Timeout until all connections are taken, and for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn crowded(database: &Database, time: Duration) -> Result<()> {
    let mut session = Session::open(database).await?;
    let port = database.server().port();
    let (mut crowd, begun) = (Vec::new(), Instant::now());
    loop {
        let ours: u64 = session.value(END_OURS).await?.parse()?;
        // The services and the other clients compete for free slots, so services that got one are terminated again.
        while let Some(stream) = enter(port).await? {
            crowd.push(stream);
            ensure!(begun.elapsed() < PATIENCE, "there are always more than {}", crowd.len());
        }
        if ours == 0 && session.value(OURS).await? == "0" {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "{ours} connections of ours are left among {}", crowd.len());
        sleep(PAUSE).await;
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        let ours = session.value(OURS).await?;
        ensure!(ours == "0", "{ours} connections of ours came in, though all were taken");
        sleep(PAUSE * 5).await;
    }
    ensure!(enter(port).await?.is_none(), "a connection was free");
    Ok(())
}

/// Opens an idle connection; `None`: PostgreSQL has too many.
async fn enter(port: u16) -> Result<Option<TcpStream>> {
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
        // `R`: the connection is accepted. The following parameter messages are not read.
        match stream.read_u8().await? {
            b'R' => Ok(Some(stream)),
            b'E' => {
                let mut told = Vec::new();
                stream.read_to_end(&mut told).await?;
                let told = String::from_utf8_lossy(&told);
                // SQLSTATE too_many_connections.
                ensure!(told.contains("53300"), "the crowd was refused: {told}");
                Ok(None)
            }
            other => bail!("a server that answers {other}"),
        }
    };
    timeout(PATIENCE, entering).await.context("the server does not answer the crowd")?
}

/// One connection for queries, one after the other.
struct Session {
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _psql: Child,
}

impl Session {
    async fn open(database: &Database) -> Result<Session> {
        let mut command = Command::new(program("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.arg(database.url()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut psql = command.spawn().context("run psql")?;
        let questions = psql.stdin.take().context("psql has no input")?;
        let answers = BufReader::new(psql.stdout.take().context("psql has no output")?).lines();
        let mut session = Session { questions, answers, _psql: psql };
        session.value("SELECT 1;").await?;
        Ok(session)
    }

    async fn value(&mut self, question: &str) -> Result<String> {
        self.questions.write_all(format!("{question}\n").as_bytes()).await?;
        let answer = timeout(PATIENCE, self.answers.next_line()).await;
        answer.context("psql does not answer")??.with_context(|| format!("psql ended at {question}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Postgres;

    /// A client that reconnects whenever it is terminated, like a pool.
    async fn persist(url: String) {
        loop {
            // The connection may be refused or terminated; the test wants both.
            let _ = crate::postgres::sql(&url, "SELECT pg_sleep(60)").await;
            sleep(PAUSE).await;
        }
    }

    #[tokio::test]
    async fn crowd_takes_every_connection() {
        let server = std::sync::Arc::new(Postgres::start().await.unwrap());
        let database = server.database().await.unwrap();
        let pool: Vec<_> = (0..10).map(|_| tokio::spawn(persist(database.url().to_owned()))).collect();
        while database.value(OURS).await.unwrap() != "10" {
            sleep(PAUSE).await;
        }
        let crowding = crowded(&database, Duration::from_secs(3));
        let refused = async {
            let too_many = |error: anyhow::Error| error.to_string().contains("too many clients");
            while !database.value("SELECT 1").await.is_err_and(too_many) {
                sleep(PAUSE).await;
            }
        };
        let (crowded, refused) = tokio::join!(crowding, timeout(PATIENCE, refused));
        crowded.unwrap();
        refused.unwrap();
        database.until(OURS, "10").await.unwrap();
        pool.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
