//! `tidings-persistence retain`: moves contents of old messages to the archive or drops them, room by room, in small
//! transactions, while the services run. The progress is stored per room, so a stopped run can continue, and the next
//! run examines only messages that became old after the last run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{IngestId, Log, keys::Partition, stored::Stored};

use crate::job_error::JobError;
use crate::jobs::backoff::Backoff;
use crate::jobs::connection::ConnectionArgs;
use crate::jobs::sql::feed;
use crate::jobs::sql::retention::{self, RetentionAction};
use crate::writer::failure;

/// Upper limit of `--batch`. A larger batch would hold its locks for too long.
const MAX_BATCH_MESSAGES: u64 = 1000;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Number of retries of a statement while the database is unavailable. With the pauses of `RETRY_BACKOFF` they take
/// about half a minute.
const MAX_RETRIES: u32 = 7;
const RETRY_BACKOFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(16)];
const LOG_UNAVAILABLE: &str = "the room log is unavailable";

/// Arguments of `retain`.
#[derive(Debug, Clone, Args)]
pub struct RetainArgs {
    /// Remove contents of messages older than this: a number and `d`, `h`, `m` or `s`, such as `180d`
    #[arg(long, value_parser = parse_age)]
    pub older_than: TimeDelta,
    /// Keep removed contents in the table messages_archive
    #[arg(long, conflicts_with = "drop", required_unless_present = "drop")]
    pub archive: bool,
    /// Keep nothing; also remove contents of that age from the table messages_archive
    #[arg(long)]
    pub drop: bool,
    /// Remove contents in this room only
    #[arg(long, value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
    /// Number of messages in one transaction
    #[arg(long, default_value_t = MAX_BATCH_MESSAGES, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH_MESSAGES))]
    pub batch: u64,
    /// Pause after each transaction, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub pause_ms: u64,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Parses an age, such as `180d`: a positive number and its unit.
fn parse_age(text: &str) -> Result<TimeDelta, String> {
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

/// Removes the contents of messages that are older than `--older-than`, in all rooms or only in `--room`.
pub async fn run(arguments: RetainArgs) -> anyhow::Result<()> {
    let (db, log) = arguments.connection.connect().await?;
    let bound = Utc::now().checked_sub_signed(arguments.older_than).ok_or_else(|| anyhow!("--older-than"))?;
    println!(
        "contents of before {} {}",
        bound.format("%Y-%m-%d %H:%M:%S UTC"),
        if arguments.drop { "are dropped" } else { "are archived" }
    );
    let mut job = RetentionJob {
        db,
        log,
        bound,
        arguments,
        begun: Instant::now(),
        printed_at: Instant::now(),
        messages: 0,
        rooms: 0,
    };
    let mut after = String::new();
    loop {
        let only = job.arguments.room.as_ref();
        let Some((last, rooms)) = with_retry(|| retention::rooms_due(&job.db, bound, only, &after)).await?
        else {
            break;
        };
        for room in rooms {
            job.process_room(&room).await?;
        }
        after = last;
    }
    let dropped = if job.arguments.drop { job.drop_archived().await? } else { 0 };
    if job.arguments.room.is_none() {
        for partition in Partition::all() {
            with_retry(|| feed::merge_rows(&job.db, partition, bound)).await?;
        }
    }
    job.print_progress(true);
    if dropped > 0 {
        println!("{dropped} contents dropped from the archive");
    }
    println!("done");
    Ok(())
}

struct RetentionJob {
    db: DatabaseConnection,
    log: Arc<Log>,
    bound: DateTime<Utc>,
    arguments: RetainArgs,
    begun: Instant,
    printed_at: Instant,
    messages: usize,
    rooms: usize,
}

impl RetentionJob {
    async fn process_room(&mut self, room: &RoomId) -> anyhow::Result<()> {
        let action = if self.arguments.drop { RetentionAction::Drop } else { RetentionAction::Archive };
        let limit = i64::try_from(self.arguments.batch).unwrap_or(1000);
        // Redis comes first. Otherwise a run that stops between the two steps would leave old records of this room in
        // Redis, and a later run would not know of them.
        self.drop_old_redis_records(room).await?;
        let (mut upto, mut last_edit) = (Seq(0), None);
        loop {
            let batch =
                with_retry(|| retention::remove_contents(&self.db, room, self.bound, action, limit)).await?;
            self.messages += batch.messages;
            upto = upto.max(batch.upto);
            last_edit = last_edit.max(batch.last_edit);
            self.print_progress(false);
            self.pause_between_batches().await;
            if !batch.may_have_more {
                break;
            }
        }
        self.rooms += 1;
        self.drop_tail_with_late_edits(room, upto.max(last_edit.unwrap_or_default())).await
    }

    /// Removes old records of the room from Redis, because they contain the texts that this job removes. Drops the
    /// tail, which may span more than a day in a quiet room. The last record of a partition stays in its stream until a
    /// later one is stored. So if the last record is old, appends a blank record and waits until it is stored.
    async fn drop_old_redis_records(&self, room: &RoomId) -> anyhow::Result<()> {
        self.log.drop_tails(std::slice::from_ref(room)).await.context(LOG_UNAVAILABLE)?;
        let is_old =
            |last: IngestId| i64::try_from(last.ms).is_ok_and(|ms| ms < self.bound.timestamp_millis());
        if self.log.last_ingest_id(Partition::of(room)).await.context(LOG_UNAVAILABLE)?.is_some_and(is_old) {
            let blank = self.log.append_blank(room).await.context(LOG_UNAVAILABLE)?;
            if self.log.wait_stored(room, &blank).await != Stored::AsAccepted {
                bail!("the log is not being stored: is a persistence node running?");
            }
        }
        Ok(())
    }

    /// Drops the room's tail again if it may contain an edit of a removed message, because such an edit may have been
    /// appended after the first drop. `upto` is the highest seq of the removed messages and their edits.
    async fn drop_tail_with_late_edits(&self, room: &RoomId, upto: Seq) -> anyhow::Result<()> {
        if self.log.first_tail_seq(room).await.context(LOG_UNAVAILABLE)?.is_some_and(|first| first <= upto) {
            self.log.drop_tails(std::slice::from_ref(room)).await.context(LOG_UNAVAILABLE)?;
        }
        Ok(())
    }

    async fn drop_archived(&mut self) -> anyhow::Result<u64> {
        let (limit, mut all) = (usize::try_from(self.arguments.batch).unwrap_or(1000), 0);
        loop {
            let only = self.arguments.room.as_ref();
            let dropped = with_retry(|| retention::drop_archived(&self.db, self.bound, only, limit)).await?;
            all += dropped;
            if dropped < limit as u64 {
                return Ok(all);
            }
            self.pause_between_batches().await;
        }
    }

    async fn pause_between_batches(&self) {
        if self.arguments.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.arguments.pause_ms)).await;
        }
    }

    fn print_progress(&mut self, last: bool) {
        if last || self.printed_at.elapsed() >= PROGRESS_INTERVAL {
            let rate = self.messages as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
            println!("{} messages in {} rooms, {rate:.0} a second", self.messages, self.rooms);
            self.printed_at = Instant::now();
        }
    }
}

/// Runs `work`, and retries it while the database is unavailable.
async fn with_retry<T, F: Future<Output = Result<T, DbErr>>>(work: impl Fn() -> F) -> Result<T, JobError> {
    let mut backoff = Backoff::new(MAX_RETRIES, RETRY_BACKOFF);
    loop {
        match work().await {
            Err(error) if failure::is_connection_error(&error) => {
                let cause = failure::redacted_cause(&error);
                eprintln!("{cause}: retrying");
                backoff.wait(cause).await?;
            }
            done => return Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_a_number_with_a_unit() {
        assert_eq!(parse_age("180d"), Ok(TimeDelta::days(180)));
        assert_eq!(
            [parse_age("2h"), parse_age("3m"), parse_age("4s")],
            [2 * 3600, 3 * 60, 4].map(|s| Ok(TimeDelta::seconds(s)))
        );
        for bad in ["", "d", "180", "-1d", "0d", "1.5d", "1w", "9999999999999d", "1é"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
