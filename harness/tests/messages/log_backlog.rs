//! The byte limit of a partition's backlog, and the counter that enforces it.

use std::time::Duration;

use crate::log_world::LogFixture;
use anyhow::{Result, ensure};
use tidings_shared::{
    ids::Seq,
    log::{Accepted, AppendError, Entry, Log, LogLimits, ReadMark},
};

/// Appends messages of 60 KB, at most 40, until one is refused. Returns the accepted ones.
async fn fill_with_long_messages(fixture: &LogFixture) -> Result<Vec<Accepted>> {
    let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(60_000));
    let mut accepted = Vec::new();
    for n in 0..40 {
        let name = format!("long-{n}");
        let entry = Entry { first_attempt: true, body: body.clone(), ..fixture.entry(&name) };
        match fixture.log.append(&entry).await {
            Ok(one) => accepted.push(one),
            Err(AppendError::Overloaded) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(accepted)
}

const LIMITED_BACKLOG: LogLimits =
    LogLimits { max_backlog_records: 10_000, max_backlog_bytes: LogLimits::MIN_BACKLOG_BYTES };

#[tokio::test]
async fn backlog_of_few_long_records_is_full_until_stored() -> Result<()> {
    let unlimited = LogFixture::with_limits(LogLimits { max_backlog_bytes: 0, ..LIMITED_BACKLOG }).await?;
    ensure!(fill_with_long_messages(&unlimited).await?.len() == 40, "nothing else refuses them");
    let fixture = LogFixture::with_limits(LIMITED_BACKLOG).await?;
    let accepted = fill_with_long_messages(&fixture).await?;
    ensure!((14..=18).contains(&accepted.len()), "{} were accepted", accepted.len());
    ensure!(fixture.append("more").await == Err(AppendError::Overloaded));
    ensure!(fixture.append("long-0").await?.duplicate, "an accepted client id must still be answered");
    let mark = ReadMark { user: fixture.alice.clone(), seq: Seq(1), delivered: false };
    ensure!(
        fixture.log.mark(&fixture.room, std::slice::from_ref(&mark)).await == Err(AppendError::Overloaded)
    );
    fixture.log.append(&Entry { exempt_from_backlog: true, ..fixture.entry("removal") }).await?;
    let session = fixture.log.session_of(&fixture.room).await?;
    let last = accepted.last().and_then(|last| last.ingest).expect("a new event has an ingest id");
    ensure!(fixture.publish_stored(&session, last, Vec::new()).await?);
    // The stream is measured again within a second.
    for _ in 0..50 {
        if fixture.append("more").await != Err(AppendError::Overloaded) {
            fixture.log.mark(&fixture.room, &[mark]).await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the backlog is stored and appends are still refused")
}

#[tokio::test]
async fn stored_records_do_not_count_as_backlog() -> Result<()> {
    let fixture = LogFixture::with_limits(LIMITED_BACKLOG).await?;
    let session = fixture.log.session_of(&fixture.room).await?;
    let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(60_000));
    // All messages together have five times the limit of bytes, but at most a sixth of the limit waits to be stored.
    for n in 0..90 {
        let (name, body) = (n.to_string(), body.clone());
        // `append.lua` appends every second message, and `append_many.lua` the others.
        let entry =
            Entry { first_attempt: true, allowed_in_archive: n % 2 == 0, body, ..fixture.entry(&name) };
        let accepted = fixture.log.append(&entry).await?;
        if n % 3 == 0 {
            let upto = accepted.ingest.expect("a new event has an ingest id");
            ensure!(fixture.publish_stored(&session, upto, Vec::new()).await?);
        }
    }
    Ok(())
}

/// The newest window of client ids, and the key of its hash.
async fn newest_window(fixture: &LogFixture) -> Result<(String, String)> {
    let list = fixture.partition().sent();
    let window: String = fixture.command(redis::cmd("LINDEX").arg(&list).arg(-1)).await?;
    let key = format!("{list}:{window}");
    Ok((window, key))
}

/// Adds long records to the stream like an earlier version, which did not count their bytes. Together they exceed the
/// limit.
async fn add_uncounted_records(fixture: &LogFixture) -> Result<()> {
    for _ in 0..20 {
        let mut add = redis::cmd("XADD");
        add.arg(fixture.partition().ingest()).arg("*").arg("r").arg("x".repeat(60_000));
        fixture.command::<String>(&mut add).await?;
    }
    Ok(())
}

#[tokio::test]
async fn uncounted_records_count_from_the_next_window_on() -> Result<()> {
    let fixture = LogFixture::with_limits(LIMITED_BACKLOG).await?;
    fixture.append("a").await?;
    add_uncounted_records(&fixture).await?;
    fixture.append("b").await?;
    // Renames the present window to the one before, so that the next append begins a new window.
    let (number, key) = newest_window(&fixture).await?;
    let earlier = (number.parse::<u64>()? - 1).to_string();
    let list = fixture.partition().sent();
    fixture.command::<()>(redis::cmd("RENAME").arg(&key).arg(format!("{list}:{earlier}"))).await?;
    fixture.command::<()>(redis::cmd("LSET").arg(&list).arg(-1).arg(&earlier)).await?;
    fixture.append("c").await?;
    ensure!(fixture.append("d").await == Err(AppendError::Overloaded), "the stream was not measured");
    Ok(())
}

#[tokio::test]
async fn window_without_counter_is_measured_also_without_limit() -> Result<()> {
    let fixture = LogFixture::with_limits(LIMITED_BACKLOG).await?;
    fixture.append("a").await?;
    add_uncounted_records(&fixture).await?;
    fixture.command::<()>(redis::cmd("HDEL").arg(newest_window(&fixture).await?.1).arg("bytes")).await?;
    let client = tidings_shared::log::client(&fixture.redis.url())?;
    let limits = LogLimits { max_backlog_bytes: 0, ..LIMITED_BACKLOG };
    let unlimited = Log::start(client, fixture.authority.clone(), limits);
    unlimited.append(&fixture.entry("b")).await?;
    ensure!(fixture.append("c").await == Err(AppendError::Overloaded), "the counter began at zero");
    Ok(())
}

#[tokio::test]
async fn expired_window_is_not_created_again_without_expiry() -> Result<()> {
    let fixture = LogFixture::with_limits(LIMITED_BACKLOG).await?;
    fixture.append("a").await?;
    let (_, key) = newest_window(&fixture).await?;
    let exists = async || fixture.command::<bool>(redis::cmd("EXISTS").arg(&key)).await;
    ensure!(exists().await?);
    fixture.command::<()>(redis::cmd("DEL").arg(&key)).await?;
    let mark = ReadMark { user: fixture.alice.clone(), seq: Seq(1), delivered: false };
    fixture.log.mark(&fixture.room, &[mark]).await?;
    ensure!(!exists().await?, "a mark has created the window again");
    fixture.log.append(&Entry { client_id: None, ..fixture.entry("none") }).await?;
    ensure!(!exists().await?, "an event without a client id has created the window again");
    // An append with a client id creates the window.
    fixture.append("b").await?;
    let ttl: i64 = fixture.command(redis::cmd("TTL").arg(&key)).await?;
    ensure!(ttl > 0, "the window expires in {ttl} s");
    Ok(())
}
