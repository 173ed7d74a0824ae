//! Searches databases of two sizes that the product's own indexer has indexed. Shows how the time of a search grows
//! with the number of messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tidings_harness::folder::Folder;
use tidings_harness::http::{Http, encode};
use tidings_harness::postgres::Postgres;

use super::Scale;
use super::history::fill::{LARGE_ROOM, SearchIndex};
use super::history::{POSTGRES_SETTINGS, SUBJECT, ServedDatabase, format_thousands, serve_database};
use crate::processes;
use crate::results::Scenario;

/// A search ends when it has this many results.
const WANTED_RESULTS: usize = 20;
/// Searches of one kind in one sample.
const SEARCHES_PER_SAMPLE: usize = 15;
const MAX_INDEXING_TIME: Duration = Duration::from_secs(3600);
const TIME: &str = "until found or at the end (ms)";
const PAGES: &str = "pages";
const CPU: &str = "CPU per search (ms)";

const METHOD: &str = "One PostgreSQL 15 (shared_buffers 1 GB, fsync on, autovacuum off) holds two databases, filled by \
SQL: half of the messages in one room, the others in 1,000 rooms; 60 to 120 characters of English each, and one of \
100,000 numbers. One persistence node per database indexes its messages before the searches; the time is noted. Then \
one member of all rooms searches, one request at a time, and follows `next` until 20 messages are found or the search \
is at its end. The time is the median of 15 searches of a kind. All data is in memory.";

/// What is searched.
#[derive(Debug, Clone, Copy)]
enum SearchKind {
    AbsentWord,
    RareWord,
    TwoRareWords,
    CommonWord,
    PartOfWord,
}

impl SearchKind {
    const ALL: [SearchKind; 5] = [
        SearchKind::AbsentWord,
        SearchKind::RareWord,
        SearchKind::TwoRareWords,
        SearchKind::CommonWord,
        SearchKind::PartOfWord,
    ];

    fn name(self) -> &'static str {
        match self {
            SearchKind::AbsentWord => "a word that does not occur",
            SearchKind::RareWord => "a number in one of 100,000 messages",
            SearchKind::TwoRareWords => "two numbers that never occur together",
            SearchKind::CommonWord => "a common word",
            SearchKind::PartOfWord => "a beginning of three letters",
        }
    }

    /// The query with this number. Different numbers search for different words, if the kind has several.
    fn query(self, number: usize) -> String {
        // The large room has even numbers only.
        let rare = |number: usize| format!("{}", 10_000 + (number * 7_918) % 80_000);
        match self {
            SearchKind::AbsentWord => format!("absent{number} "),
            SearchKind::RareWord => format!("{} ", rare(number)),
            SearchKind::TwoRareWords => format!("{} {} ", rare(number), rare(number + 1)),
            SearchKind::CommonWord => "train ".to_owned(),
            SearchKind::PartOfWord => "lib".to_owned(),
        }
    }
}

/// Fills the databases, waits until they are indexed, and searches them in turn.
///
/// # Errors
/// When a process does not start or does not answer, or the messages are not indexed within an hour.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let sizes = scale.choose([1_000_000, 10_000_000], [10_000, 100_000]);
    let mut scenario = Scenario {
        name: "search".into(),
        title: format!(
            "Search in {} and {} messages",
            format_thousands(sizes[0]),
            format_thousands(sizes[1])
        ),
        method: METHOD.into(),
        ..Scenario::default()
    };
    let folder = Folder::new()?;
    let postgres = Arc::new(Postgres::start_durable_in(folder.path(), POSTGRES_SETTINGS).await?);
    let mut databases = Vec::new();
    for size in sizes {
        let served = serve_database(folder.path(), &postgres, size, SearchIndex::Empty).await?;
        let indexed = wait_until_indexed(&served).await?;
        scenario.notes.push(format!("{}: {indexed}.", served.setting));
        databases.push(served);
    }
    for _ in 0..scale.samples {
        for kind in SearchKind::ALL {
            for served in &databases {
                for room in [None, Some(LARGE_ROOM)] {
                    let place = if room.is_some() { "one room" } else { "all rooms" };
                    let setting = format!("{}, {place}: {}", served.setting, kind.name());
                    add_searches(&mut scenario, served, &setting, kind, room).await?;
                }
            }
        }
    }
    Ok(scenario)
}

/// Waits until every complete block is indexed. Returns a sentence with the time and the size of the index.
async fn wait_until_indexed(served: &ServedDatabase) -> Result<String> {
    let begun = Instant::now();
    let waiting = "SELECT count(*) FROM rooms r JOIN search_progress p ON p.room_id = r.id \
         WHERE r.head_seq - p.indexed_seq >= 64";
    while served.database.value(waiting).await? != "0" {
        ensure!(begun.elapsed() < MAX_INDEXING_TIME, "{}: the index is not complete", served.setting);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    served.database.query("VACUUM (ANALYZE) search_blocks").await?;
    let size = "SELECT pg_size_pretty(pg_total_relation_size('search_blocks'))";
    Ok(format!("indexed within {seconds:.0} s; size of the index {}", served.database.value(size).await?))
}

async fn add_searches(
    scenario: &mut Scenario,
    served: &ServedDatabase,
    setting: &str,
    kind: SearchKind,
    room: Option<&str>,
) -> Result<()> {
    let http = Http::new(&format!("http://{}", served.address), &served.token);
    let mut times = Vec::new();
    let mut pages = 0;
    let before = processes::cpu_times(&served.processes)?;
    for number in 0..SEARCHES_PER_SAMPLE {
        let begun = Instant::now();
        pages += search_to_end(&http, &kind.query(number), room).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let used = processes::cpu_times(&served.processes)?.since(&before);
    times.sort_by(f64::total_cmp);
    let searches = SEARCHES_PER_SAMPLE as f64;
    scenario.add(SUBJECT, setting, TIME, times[times.len() / 2]);
    scenario.add(SUBJECT, setting, PAGES, f64::from(pages) / searches);
    scenario.add(SUBJECT, setting, CPU, used.total() * 1e3 / searches);
    Ok(())
}

/// Follows `next` until enough results are found or the search has no next page. Returns the number of pages.
async fn search_to_end(http: &Http, query: &str, room: Option<&str>) -> Result<u32> {
    let room = room.map(|room| format!("&room={room}")).unwrap_or_default();
    let first = format!("/search?q={}&limit={WANTED_RESULTS}{room}", encode(query));
    let (mut path, mut found, mut pages) = (first.clone(), 0, 0);
    loop {
        let answer = http.get(&path).await?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
        pages += 1;
        found += answer.body["results"].as_array().map_or(0, Vec::len);
        match &answer.body["next"] {
            Value::String(next) if found < WANTED_RESULTS => {
                path = format!("{first}&cursor={}", encode(next));
            }
            _ => return Ok(pages),
        }
    }
}
