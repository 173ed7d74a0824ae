//! Reads history pages of databases of three sizes. Shows whether the cost of a page depends on the size of the
//! database.

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
use crate::processes::{self, CpuTimes, Process};
use crate::results::{Bound, Figure, Plot, Scenario};
use fill::{LARGE_ROOM, MessageDistribution, PAGE_SIZE, READER, SearchIndex};

pub mod fill;
mod load;
#[cfg(test)]
mod tests;

pub const SUBJECT: &str = "Tidings";
/// Rate of the requests. This is a small part of the capacity of one core, so requests do not wait for each other.
const REQUESTS_PER_SECOND: f64 = 200.0;
/// Requests of one kind in one round.
const REQUESTS_PER_ROUND: usize = 300;
const ALL_KINDS: &str = "all kinds";
const P50: &str = "p50 (ms)";
const P99: &str = "p99 (ms)";
const CPU_PER_PAGE: &str = "CPU per page (µs)";

/// Settings of the PostgreSQL server that holds all three databases. With `wal_level = minimal` a table can be filled
/// without WAL.
pub const POSTGRES_SETTINGS: &str = "
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

/// A filled database with its persistence node, and what the requests to it need.
pub struct ServedDatabase {
    /// The number of messages, as text.
    pub setting: String,
    filled: MessageDistribution,
    /// The address of the persistence node.
    pub address: SocketAddr,
    /// A token of [`READER`].
    pub token: String,
    pub processes: Vec<Process>,
    _node: Node,
    _redis: Redis,
    pub database: Database,
}

/// Fills three databases and reads from them in turn.
///
/// # Errors
/// When a process does not start or does not answer.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let sizes = if scale.quick { [1_000, 10_000, 100_000] } else { [10_000, 1_000_000, 10_000_000] };
    let folder = Folder::new()?;
    let postgres = Arc::new(Postgres::start_durable_in(folder.path(), POSTGRES_SETTINGS).await?);
    let mut served = Vec::new();
    for size in sizes {
        served.push(serve_database(folder.path(), &postgres, size, SearchIndex::MarkedComplete).await?);
    }
    let mut scenario = Scenario {
        name: "history".into(),
        title: format!(
            "History pages at {}, {} and {} messages",
            format_thousands(sizes[0]),
            format_thousands(sizes[1]),
            format_thousands(sizes[2])
        ),
        method: METHOD.into(),
        plots: vec![
            plot("p99", "History pages: 99 of 100 are faster", P99),
            plot("cpu", "History pages: CPU time of persistence and PostgreSQL", CPU_PER_PAGE),
        ],
        ..Scenario::default()
    };
    for kind in PageKind::ALL {
        for one in &served {
            one.request_round(kind).await?;
        }
    }
    let mut ratios = Figure::default();
    for round in 0..scale.samples {
        let mut all = vec![load::histogram()?; served.len()];
        for kind in PageKind::ALL {
            for turn in 0..served.len() {
                let at = (turn + round) % served.len();
                let one = &served[at];
                let (latencies, cpu) = one.request_round(kind).await?;
                let setting = format!("{}: {}", one.setting, kind.name());
                add_latencies(&mut scenario, &setting, &latencies);
                scenario.add(SUBJECT, &setting, CPU_PER_PAGE, cpu.total());
                for (name, used) in &cpu.0 {
                    scenario.add(SUBJECT, &setting, &format!("CPU of {name} per page (µs)"), *used);
                }
                all[at].add(&latencies)?;
            }
        }
        for (one, latencies) in served.iter().zip(&all) {
            add_latencies(&mut scenario, &format!("{}: {ALL_KINDS}", one.setting), latencies);
        }
        let p99 = |at: usize| all[at].value_at_quantile(0.99) as f64;
        ratios.samples.push(p99(served.len() - 1) / p99(0));
    }
    let what = format!("p99 of pages at {} to that at {}", served[2].setting, served[0].setting);
    scenario.add_target(&what, ratios.median(), Bound::AtMost, 1.5);
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

fn add_latencies(scenario: &mut Scenario, setting: &str, latencies: &Histogram<u64>) {
    scenario.add(SUBJECT, setting, P50, latencies.value_at_quantile(0.5) as f64 / 1000.0);
    scenario.add(SUBJECT, setting, P99, latencies.value_at_quantile(0.99) as f64 / 1000.0);
}

/// Fills a database with this many messages, and starts a persistence node that has its own Redis.
///
/// # Errors
/// When a process does not start, or the database cannot be filled.
pub async fn serve_database(
    folder: &Path,
    postgres: &Arc<Postgres>,
    size: u64,
    index: SearchIndex,
) -> Result<ServedDatabase> {
    let database = postgres.database().await?;
    migrate(database.url()).await?;
    let filled =
        fill::fill_database(&database, size, index).await.with_context(|| format!("fill {size} messages"))?;
    let node_folder = folder.join(size.to_string());
    std::fs::create_dir_all(&node_folder)?;
    let redis = Redis::start_in(&node_folder).await?;
    let secret = token::secret();
    let settings = [
        ("REDIS_URL", redis.url()),
        ("DATABASE_URL", database.url().to_owned()),
        ("TIDINGS_JWT_SECRET", secret.clone()),
        ("TIDINGS_INTERNAL_SECRET", token::secret()),
        ("TIDINGS_LOG", "warn".to_owned()),
        // One reader makes all requests.
        ("TIDINGS_READS_PER_SECOND", "1000000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let node = Node::start(Service::Persistence, &node_folder, "persistence", &settings).await?;
    let pids = [("persistence", node.pid()), ("postgres", postgres.pid())];
    let mut processes = Vec::new();
    for (name, pid) in pids {
        processes.push(Process { name: name.into(), pid: pid.with_context(|| format!("{name} is gone"))? });
    }
    Ok(ServedDatabase {
        setting: format!("{} messages", format_thousands(size)),
        filled,
        address: SocketAddr::from(([127, 0, 0, 1], node.ports().public)),
        token: Token::of(READER).sign(&secret),
        processes,
        _node: node,
        _redis: redis,
        database,
    })
}

impl ServedDatabase {
    /// Requests pages of this kind. Returns their latencies in µs, and the CPU µs per page by process name.
    async fn request_round(&self, kind: PageKind) -> Result<(Histogram<u64>, CpuTimes)> {
        let paths: Vec<String> = (0..REQUESTS_PER_ROUND).map(|_| kind.path(self.filled)).collect();
        let (address, token, pages) = (self.address, self.token.clone(), paths.len() as f64);
        let before = processes::cpu_times(&self.processes)?;
        let request_task = tokio::task::spawn_blocking(move || {
            load::request_all(address, &token, &paths, REQUESTS_PER_SECOND)
        });
        let latencies = request_task.await?.with_context(|| format!("{}: {}", self.setting, kind.name()))?;
        let used = processes::cpu_times(&self.processes)?.since(&before);
        // Waits until the background work of this round has ended, so that it does not count for the next round.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let of_one = used.0.into_iter().map(|(name, seconds)| (name, seconds * 1e6 / pages));
        Ok((latencies, CpuTimes(of_one.collect())))
    }
}

async fn sizes_on_disk(served: &[ServedDatabase]) -> Result<String> {
    let mut sizes = Vec::new();
    for one in served {
        let size = "SELECT pg_size_pretty(pg_table_size('messages')) || ' and ' || pg_size_pretty(pg_indexes_size('messages'))";
        sizes.push(format!("{}: {}", one.setting, one.database.value(size).await?));
    }
    Ok(format!("Size of the table of messages and of its indexes: {}.", sizes.join("; ")))
}

/// Which page of which room a request reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageKind {
    Newest,
    Before,
    Around,
    Deep,
    SmallRooms,
}

impl PageKind {
    const ALL: [PageKind; 5] =
        [PageKind::Newest, PageKind::Before, PageKind::Around, PageKind::Deep, PageKind::SmallRooms];

    fn name(self) -> &'static str {
        match self {
            PageKind::Newest => "newest",
            PageKind::Before => "before",
            PageKind::Around => "around",
            PageKind::Deep => "deep",
            PageKind::SmallRooms => "small rooms",
        }
    }

    /// Path and query of a random page of this kind. All pages of the large room are full.
    fn path(self, filled: MessageDistribution) -> String {
        let mut random = rand::rng();
        let head = filled.in_large;
        let (room, place) = match self {
            PageKind::Newest => (LARGE_ROOM.to_owned(), String::new()),
            PageKind::Before => {
                (LARGE_ROOM.to_owned(), format!("before={}&", random.random_range(PAGE_SIZE + 1..=head)))
            }
            PageKind::Around => (
                LARGE_ROOM.to_owned(),
                format!("around={}&", random.random_range(PAGE_SIZE..=head - PAGE_SIZE)),
            ),
            PageKind::Deep => (
                LARGE_ROOM.to_owned(),
                format!("before={}&", random.random_range(PAGE_SIZE + 1..=head.min(1000))),
            ),
            PageKind::SmallRooms => {
                (format!("small{}", random.random_range(0..filled.small_rooms)), String::new())
            }
        };
        format!("/v1/rooms/{room}/messages?{place}limit={PAGE_SIZE}")
    }
}

/// Formats a number with thousands separators.
pub fn format_thousands(number: u64) -> String {
    crate::report::format_number(number as f64)
}
