//! History pages of small and huge databases: whether the cost of a page depends on the size of the database.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rand::Rng;
use tidings_harness::folder::Folder;
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::redis::Redis;
use tidings_harness::stack::migrate;
use tidings_harness::{Node, Service, Token, token};

use super::Scale;
use crate::processes::{self, Cpu, Process};
use crate::results::{Bound, Figure, Plot, Scenario};
use fill::{Filled, LARGE, PAGE, READER};

mod fill;
mod load;
#[cfg(test)]
mod tests;

const SUBJECT: &str = "Tidings";
/// Requests per second: a small part of the capacity of one core, so that requests do not wait for each other.
const RATE: f64 = 200.0;
/// Requests of one kind in one round.
const QUESTIONS: usize = 300;
const ALL: &str = "all kinds";
const P50: &str = "p50 (ms)";
const P99: &str = "p99 (ms)";
const CPU_PER_PAGE: &str = "CPU per page (µs)";

/// The same for all three databases. With `wal_level = minimal` a table can be filled without WAL.
const POSTGRES_SETTINGS: &str = "
shared_buffers = 1GB
wal_level = minimal
max_wal_senders = 0
max_wal_size = 8GB
autovacuum = off
";

const METHOD: &str = "One PostgreSQL 15 (shared_buffers 1 GB, fsync on, autovacuum off, else as it comes) holds three \
databases with the schema of the migrations, and one persistence node with a Redis of its own serves each. They are \
filled by SQL with what persistence would have stored, in the order in which it would have come: every second message \
in one large room of 1,001 members, the others in turn in 1,000 rooms of 11 members (100 rooms in the smallest \
database, so that every page can be full), 70 to 110 characters each, then VACUUM ANALYZE. The index of search is left \
empty and marked as done, so that filling it does not run beside the measurement; reading pages does not touch it. \
Pages of 50 messages are read over HTTP keep-alive, 200 a second on 8 connections whatever the answers take, and \
a page's time counts from the moment when it was due. Kinds: `newest` page of the large room; `before` and \
`around` a random place in it; `deep`: before one of its first thousand places; `small rooms`: the newest \
page of a random one. The databases take turns within each kind and each round, 300 pages each. All is warmed up \
before: the figures are those of data that is in memory.";

/// One database with its persistence node.
struct Served {
    setting: String,
    filled: Filled,
    address: SocketAddr,
    token: String,
    processes: Vec<Process>,
    _node: Node,
    _redis: Redis,
    database: Database,
}

/// Fills three databases and reads from them in turn.
///
/// # Errors
/// When something does not start or does not answer.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let sizes = if scale.quick { [1_000, 10_000, 100_000] } else { [10_000, 1_000_000, 10_000_000] };
    let folder = Folder::new()?;
    let postgres = Arc::new(Postgres::start_durable_in(folder.path(), POSTGRES_SETTINGS).await?);
    let mut served = Vec::new();
    for size in sizes {
        served.push(serve(folder.path(), &postgres, size).await?);
    }
    let mut scenario = Scenario {
        name: "history".into(),
        title: format!(
            "History pages at {}, {} and {} messages",
            thousands(sizes[0]),
            thousands(sizes[1]),
            thousands(sizes[2])
        ),
        method: METHOD.into(),
        plots: vec![
            plot("p99", "History pages: 99 of 100 are faster", P99),
            plot("cpu", "History pages: CPU time of persistence and PostgreSQL", CPU_PER_PAGE),
        ],
        ..Scenario::default()
    };
    for kind in Kind::ALL {
        for one in &served {
            one.round(kind).await?;
        }
    }
    let mut ratios = Figure::default();
    for round in 0..scale.samples {
        let mut all = vec![load::histogram()?; served.len()];
        for kind in Kind::ALL {
            for turn in 0..served.len() {
                let at = (turn + round) % served.len();
                let one = &served[at];
                let (took, cpu) = one.round(kind).await?;
                let setting = format!("{}: {}", one.setting, kind.name());
                add(&mut scenario, &setting, &took);
                scenario.add(SUBJECT, &setting, CPU_PER_PAGE, cpu.total());
                for (name, used) in &cpu.0 {
                    scenario.add(SUBJECT, &setting, &format!("CPU of {name} per page (µs)"), *used);
                }
                all[at].add(&took)?;
            }
        }
        for (one, took) in served.iter().zip(&all) {
            add(&mut scenario, &format!("{}: {ALL}", one.setting), took);
        }
        let p99 = |at: usize| all[at].value_at_quantile(0.99) as f64;
        ratios.samples.push(p99(served.len() - 1) / p99(0));
    }
    let what = format!("p99 of pages at {} to that at {}", served[2].setting, served[0].setting);
    scenario.target(&what, ratios.median(), Bound::AtMost, 1.5);
    scenario.notes.push(format!(
        "The ratio of the target is the median over the rounds of the ratio within each round; it was {:.2} to {:.2}.",
        ratios.range().0,
        ratios.range().1
    ));
    scenario.notes.push(sizes_on_disk(&served).await?);
    scenario.rows.sort_by_key(|row| served.iter().position(|one| row.setting.starts_with(&one.setting)));
    Ok(scenario)
}

fn plot(name: &str, title: &str, figure: &str) -> Plot {
    Plot { name: name.into(), title: title.into(), figure: figure.into(), logarithmic: false }
}

fn add(scenario: &mut Scenario, setting: &str, took: &Histogram<u64>) {
    scenario.add(SUBJECT, setting, P50, took.value_at_quantile(0.5) as f64 / 1000.0);
    scenario.add(SUBJECT, setting, P99, took.value_at_quantile(0.99) as f64 / 1000.0);
}

async fn serve(folder: &Path, postgres: &Arc<Postgres>, size: u64) -> Result<Served> {
    let database = postgres.database().await?;
    migrate(database.url()).await?;
    let filled = fill::fill(&database, size).await.with_context(|| format!("fill {size} messages"))?;
    let own = folder.join(size.to_string());
    std::fs::create_dir_all(&own)?;
    let redis = Redis::start_in(&own).await?;
    let secret = token::secret();
    let settings = [
        ("REDIS_URL", redis.url()),
        ("DATABASE_URL", database.url().to_owned()),
        ("TIDINGS_JWT_SECRET", secret.clone()),
        ("TIDINGS_INTERNAL_SECRET", token::secret()),
        ("TIDINGS_LOG", "warn".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let node = Node::start(Service::Persistence, &own, "persistence", &settings).await?;
    let pids = [("persistence", node.pid()), ("postgres", postgres.pid())];
    let mut processes = Vec::new();
    for (name, pid) in pids {
        processes.push(Process { name: name.into(), pid: pid.with_context(|| format!("{name} is gone"))? });
    }
    Ok(Served {
        setting: format!("{} messages", thousands(size)),
        filled,
        address: SocketAddr::from(([127, 0, 0, 1], node.ports().public)),
        token: Token::of(READER).sign(&secret),
        processes,
        _node: node,
        _redis: redis,
        database,
    })
}

impl Served {
    /// The latencies of pages of a kind, and the CPU time of one page in µs, by process.
    async fn round(&self, kind: Kind) -> Result<(Histogram<u64>, Cpu)> {
        let paths: Vec<String> = (0..QUESTIONS).map(|_| kind.path(self.filled)).collect();
        let (address, token, pages) = (self.address, self.token.clone(), paths.len() as f64);
        let before = processes::cpu(&self.processes)?;
        let asked = tokio::task::spawn_blocking(move || load::ask(address, &token, &paths, RATE));
        let took = asked.await?.with_context(|| format!("{}: {}", self.setting, kind.name()))?;
        let used = processes::cpu(&self.processes)?.since(&before);
        // Background work of this round must not count for the next one.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let of_one = used.0.into_iter().map(|(name, seconds)| (name, seconds * 1e6 / pages));
        Ok((took, Cpu(of_one.collect())))
    }
}

async fn sizes_on_disk(served: &[Served]) -> Result<String> {
    let mut sizes = Vec::new();
    for one in served {
        let size = "SELECT pg_size_pretty(pg_table_size('messages')) || ' and ' || pg_size_pretty(pg_indexes_size('messages'))";
        sizes.push(format!("{}: {}", one.setting, one.database.value(size).await?));
    }
    Ok(format!("Size of the table of messages and of its indexes: {}.", sizes.join("; ")))
}

/// The kind of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Newest,
    Before,
    Around,
    Deep,
    SmallRooms,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Newest, Kind::Before, Kind::Around, Kind::Deep, Kind::SmallRooms];

    fn name(self) -> &'static str {
        match self {
            Kind::Newest => "newest",
            Kind::Before => "before",
            Kind::Around => "around",
            Kind::Deep => "deep",
            Kind::SmallRooms => "small rooms",
        }
    }

    /// Path and query of a page; all pages of a large room are full.
    fn path(self, filled: Filled) -> String {
        let mut random = rand::rng();
        let head = filled.in_large;
        let (room, place) = match self {
            Kind::Newest => (LARGE.to_owned(), String::new()),
            Kind::Before => (LARGE.to_owned(), format!("before={}&", random.random_range(PAGE + 1..=head))),
            Kind::Around => {
                (LARGE.to_owned(), format!("around={}&", random.random_range(PAGE..=head - PAGE)))
            }
            Kind::Deep => {
                (LARGE.to_owned(), format!("before={}&", random.random_range(PAGE + 1..=head.min(1000))))
            }
            Kind::SmallRooms => {
                (format!("small{}", random.random_range(0..filled.small_rooms)), String::new())
            }
        };
        format!("/v1/rooms/{room}/messages?{place}limit={PAGE}")
    }
}

fn thousands(number: u64) -> String {
    crate::report::number(number as f64)
}
