//! Log and metric say why PostgreSQL cannot be used, once per cause, however many requests fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::folder::Folder;
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::redis::Redis;
use tidings_harness::{Http, Node, Service, Token, stack, token};

/// Longer than a pool waits for a connection, plus the interval in which a new cause is logged.
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
/// A role that is no superuser, so that it can be locked out.
const ROLE: &str = "service";
const FAILED: &str = "PostgreSQL cannot be used";

/// A persistence node that uses the database `served` as [`ROLE`]. Queries of `admin` work while the node is refused.
struct RefusedNode {
    _redis: Redis,
    _folder: Folder,
    served: String,
    admin: Database,
    node: Node,
    http: Http,
    room: String,
    // Dropped last, because the others use the server.
    postgres: Arc<Postgres>,
}

impl RefusedNode {
    async fn start(settings: &[(&str, &str)]) -> Result<RefusedNode> {
        let (postgres, redis) = (Arc::new(Postgres::start().await?), Redis::start().await?);
        let (admin, folder) = (postgres.database().await?, Folder::new()?);
        let served = "served".to_owned();
        admin.query(&format!("CREATE ROLE {ROLE} LOGIN")).await?;
        admin.query(&format!("CREATE DATABASE {served} OWNER {ROLE}")).await?;
        let url = postgres.url_of(&served).replace("postgres://tidings@", &format!("postgres://{ROLE}@"));
        stack::migrate(&url).await?;
        let secret = token::secret();
        let own = [
            ("DATABASE_URL", url),
            ("REDIS_URL", redis.url()),
            ("TIDINGS_JWT_SECRET", secret.clone()),
            ("TIDINGS_INTERNAL_SECRET", token::secret()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let more = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = own.into_iter().chain(more).collect();
        let node = Node::start(Service::Persistence, folder.path(), "persistence", &settings).await?;
        // A back end, because other users have few reads at a time.
        let http = Http::new(&node.url(), &Token::of("ann").scope("tidings.admin").sign(&secret));
        let room = http.new_room(&[]).await?;
        Ok(RefusedNode { _redis: redis, _folder: folder, served, admin, node, http, room, postgres })
    }

    /// Runs a statement and ends the connections of the node, so that it needs new ones.
    async fn change(&self, statement: &str) -> Result<()> {
        self.admin.query(statement).await?;
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> current_database()";
        self.admin.query(&format!("{end} AND usename = '{ROLE}'")).await.map(drop)
    }

    /// The log lines about outages with this cause.
    fn lines(&self, cause: &str) -> Result<Vec<String>> {
        let cause = format!("\"cause\":\"{cause}\"");
        let log = self.node.log()?;
        let lines = log.lines().filter(|line| line.contains(FAILED) && line.contains(&cause));
        Ok(lines.map(str::to_owned).collect())
    }

    async fn failures(&self, cause: &str) -> Result<u64> {
        let series = format!("tidings_persistence_database_failures_total{{cause=\"{cause}\"}} ");
        let page = self.node.metrics().await?;
        let value = page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
        value.with_context(|| format!("no {series}in {page}"))
    }

    /// Waits until a cause is logged and counted. Returns its first line.
    async fn until_cause(&self, cause: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let line = self.lines(cause)?.into_iter().next();
            if let Some(line) = line
                && self.failures(cause).await? > 0
            {
                return Ok(line);
            }
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "{cause} is not logged: {}", self.node.log()?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_usable(&self) -> Result<()> {
        let begun = Instant::now();
        // The end must come after the last failure.
        while !self.node.log()?.rsplit(FAILED).next().unwrap_or_default().contains("can be used again") {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "the outage does not end: {}", self.node.log()?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(self.http.room(&self.room).await?.status == 200);
        Ok(())
    }
}

#[tokio::test]
async fn each_refusal_of_postgres_is_logged_with_its_cause() -> Result<()> {
    let system = RefusedNode::start(&[]).await?;
    let served = &system.served;
    ensure!(system.failures("refused").await? == 0, "the counter exists before the first failure");

    system.change(&format!("ALTER ROLE {ROLE} NOLOGIN")).await?;
    let line = system.until_cause("authentication").await?;
    ensure!(line.contains("SQLSTATE 28000 (invalid_authorization_specification)"), "{line}");

    system.change(&format!("ALTER DATABASE {served} RENAME TO other")).await?;
    system.change(&format!("ALTER ROLE {ROLE} LOGIN")).await?;
    let line = system.until_cause("no_database").await?;
    ensure!(line.contains("SQLSTATE 3D000 (invalid_catalog_name)"), "{line}");

    system.change(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT 0")).await?;
    system.change(&format!("ALTER DATABASE other RENAME TO {served}")).await?;
    let line = system.until_cause("too_many_connections").await?;
    ensure!(line.contains("SQLSTATE 53300 (too_many_connections)"), "{line}");

    system.change(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT -1")).await?;
    system.until_usable().await?;

    system.postgres.stop().await?;
    let requests = (0..100).map(|_| system.http.room(&system.room));
    for answer in futures_util::future::join_all(requests).await {
        ensure!(answer?.status == 503);
    }
    let line = system.until_cause("refused").await?;
    ensure!(line.contains(&format!("127.0.0.1:{}", system.postgres.port())), "{line}");
    let begun = Instant::now();
    while system.failures("refused").await? < 100 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "failures are not counted as refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(system.lines("refused")?.len() == 1, "{:#?}", system.lines("refused")?);
    let log = system.node.log()?;
    for repeated in ["the database is unavailable", "leases could not be renewed", "pool timed out"] {
        ensure!(!log.contains(repeated), "{repeated}: {log}");
    }

    system.postgres.restart().await?;
    system.until_usable().await
}

#[tokio::test]
async fn exhausted_pool_is_told_from_a_server_that_refuses() -> Result<()> {
    let system = RefusedNode::start(&[("TIDINGS_DATABASE_CONNECTIONS", "1")]).await?;
    let blocker = system.postgres.url_of(&system.served);
    let lock = "BEGIN; LOCK TABLE rooms, members IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(9); COMMIT";
    let mut psql = tokio::process::Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", lock, &blocker]);
    let mut psql = psql.kill_on_drop(true).spawn()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let requests = (0..4).map(|_| system.http.room(&system.room));
    let answers = futures_util::future::join_all(requests).await;
    ensure!(answers.into_iter().any(|answer| answer.is_ok_and(|answer| answer.status == 503)));
    let line = system.until_cause("pool_exhausted").await?;
    ensure!(line.contains("all connections of a pool are in use"), "{line}");
    ensure!(system.failures("refused").await? == 0);
    psql.wait().await?;
    system.until_usable().await
}
