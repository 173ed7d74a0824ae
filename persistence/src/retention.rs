//! `tidings-persistence retain`: contents older than a bound are moved to the archive or dropped, room by room, in small
//! transactions, while the services run. What was done is remembered per room: stopped, it goes on where it was, and
//! the next run looks only at what has become old since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{IngestId, Log, keys::Partition, stored::Stored};

use crate::jobs::Reach;
use crate::writer::failure;
use crate::writer::retention::{self, Fate};

/// Above this a batch would hold its locks for too long.
const MOST_AT_ONCE: u64 = 1000;
/// How often it is told how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// A statement that failed since the database is away is tried again so often, with pauses that grow.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const AWAY: &str = "the room log is out of reach";

/// What `retain` takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Contents of messages older than this go: a number and `d`, `h`, `m` or `s`, such as `180d`
    #[arg(long, value_parser = age)]
    pub older_than: TimeDelta,
    /// Keep what goes in the table messages_archive
    #[arg(long, conflicts_with = "drop", required_unless_present = "drop")]
    pub archive: bool,
    /// Keep nothing; what the archive holds of that age goes too
    #[arg(long)]
    pub drop: bool,
    /// This room only
    #[arg(long, value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
    /// Messages in one transaction
    #[arg(long, default_value_t = MOST_AT_ONCE, value_parser = clap::value_parser!(u64).range(1..=MOST_AT_ONCE))]
    pub batch: u64,
    /// Pause after each transaction, milliseconds
    #[arg(long, default_value_t = 0)]
    pub pause_ms: u64,
    #[command(flatten)]
    pub reach: Reach,
}

/// Reads an age: a number with its unit.
fn age(text: &str) -> Result<TimeDelta, String> {
    let rule = || "a number and `d`, `h`, `m` or `s`, such as `180d`".to_owned();
    let unit = text.chars().last().ok_or_else(rule)?;
    let number: i64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(rule)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(rule()),
    };
    let age = number.checked_mul(seconds).filter(|age| *age > 0).and_then(TimeDelta::try_seconds);
    age.filter(|age| Utc::now().checked_sub_signed(*age).is_some()).ok_or_else(rule)
}

/// Runs to the end.
///
/// # Errors
/// Why it stopped before.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (db, log) = arguments.reach.connect().await?;
    let bound = Utc::now().checked_sub_signed(arguments.older_than).ok_or_else(|| anyhow!("--older-than"))?;
    println!(
        "contents of before {} {}",
        bound.format("%Y-%m-%d %H:%M:%S UTC"),
        if arguments.drop { "are dropped" } else { "are archived" }
    );
    let mut job =
        Job { db, log, bound, arguments, begun: Instant::now(), told: Instant::now(), messages: 0, rooms: 0 };
    let mut after = String::new();
    loop {
        let only = job.arguments.room.as_ref();
        let Some((last, rooms)) = patiently(|| retention::due(&job.db, bound, only, &after)).await? else {
            break;
        };
        for room in rooms {
            job.room(&room).await?;
        }
        after = last;
    }
    let dropped = if job.arguments.drop { job.drop_archived().await? } else { 0 };
    job.tell(true);
    if dropped > 0 {
        println!("{dropped} contents dropped from the archive");
    }
    println!("done");
    Ok(())
}

struct Job {
    db: DatabaseConnection,
    log: Arc<Log>,
    bound: DateTime<Utc>,
    arguments: Arguments,
    begun: Instant,
    told: Instant,
    messages: usize,
    rooms: usize,
}

impl Job {
    async fn room(&mut self, room: &RoomId) -> anyhow::Result<()> {
        let fate = if self.arguments.drop { Fate::Drop } else { Fate::Archive };
        let most = i64::try_from(self.arguments.batch).unwrap_or(1000);
        // Before anything is taken: once it is, nothing tells a later run that this room's tail is old.
        self.forget_in_redis(room).await?;
        let (mut upto, mut last_edit) = (Seq(0), None);
        loop {
            let batch = patiently(|| retention::take(&self.db, room, self.bound, fate, most)).await?;
            self.messages += batch.messages;
            upto = upto.max(batch.upto);
            last_edit = last_edit.max(batch.last_edit);
            self.tell(false);
            self.rest().await;
            if !batch.more {
                break;
            }
        }
        self.rooms += 1;
        self.forget_late_edits(room, upto.max(last_edit.unwrap_or_default())).await
    }

    /// What Redis holds is younger by far, unless little is said: a tail of 256 messages may go back for days, and the
    /// last record of a partition stays until the next.
    async fn forget_in_redis(&self, room: &RoomId) -> anyhow::Result<()> {
        self.log.drop_tails(std::slice::from_ref(room)).await.context(AWAY)?;
        let is_old =
            |last: IngestId| i64::try_from(last.ms).is_ok_and(|ms| ms < self.bound.timestamp_millis());
        if self.log.last_record(Partition::of(room)).await.context(AWAY)?.is_some_and(is_old) {
            let blank = self.log.append_blank(room).await.context(AWAY)?;
            if self.log.wait_stored(room, &blank).await != Stored::Here {
                bail!("the log is not being stored: is a persistence node running?");
            }
        }
        Ok(())
    }

    /// What is old may have been edited since the tail was dropped.
    async fn forget_late_edits(&self, room: &RoomId, upto: Seq) -> anyhow::Result<()> {
        if self.log.tail_begins(room).await.context(AWAY)?.is_some_and(|first| first <= upto) {
            self.log.drop_tails(std::slice::from_ref(room)).await.context(AWAY)?;
        }
        Ok(())
    }

    async fn drop_archived(&mut self) -> anyhow::Result<u64> {
        let (most, mut all) = (usize::try_from(self.arguments.batch).unwrap_or(1000), 0);
        loop {
            let only = self.arguments.room.as_ref();
            let dropped = patiently(|| retention::drop_archived(&self.db, self.bound, only, most)).await?;
            all += dropped;
            if dropped < most as u64 {
                return Ok(all);
            }
            self.rest().await;
        }
    }

    async fn rest(&self) {
        if self.arguments.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.arguments.pause_ms)).await;
        }
    }

    fn tell(&mut self, last: bool) {
        if last || self.told.elapsed() >= TELL_EVERY {
            let rate = self.messages as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
            println!("{} messages in {} rooms, {rate:.0} a second", self.messages, self.rooms);
            self.told = Instant::now();
        }
    }
}

/// Tries again what failed since the database was not there.
async fn patiently<T, F: Future<Output = Result<T, DbErr>>>(work: impl Fn() -> F) -> anyhow::Result<T> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match work().await {
            Err(error) if failure::is_of_the_connection(&error) => {
                eprintln!("{}: trying again", failure::without_data(&error));
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done.map_err(|error| anyhow!(failure::without_data(&error))),
        }
    }
    work().await.map_err(|error| anyhow!(failure::without_data(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_its_unit() {
        assert_eq!(age("180d"), Ok(TimeDelta::days(180)));
        assert_eq!(
            [age("2h"), age("3m"), age("4s")],
            [2 * 3600, 3 * 60, 4].map(|s| Ok(TimeDelta::seconds(s)))
        );
        for bad in ["", "d", "180", "-1d", "0d", "1.5d", "1w", "9999999999999d", "1é"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
