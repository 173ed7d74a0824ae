//! Reads of heads and tails use their own connection to Redis. Tests with a real Redis behind a slow link.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use tidings_harness::proxy::{LinkConditions, Proxy};
use tidings_shared::{
    ids::{Epoch, Seq},
    log::{AppendError, Entry, Log, LogLimits, TailPart},
};

use crate::{log_many::first_attempt, log_world::LogFixture};

/// Appends messages until the tail of the fixture's room has its maximum of bytes.
async fn fill_tail(fixture: &LogFixture) -> Result<Seq> {
    let mut head = Seq(0);
    for number in 0..70 {
        let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(1_000));
        let entry = Entry { body, ..first_attempt(fixture, &format!("fill-{number}")) };
        head = fixture.log.append(&entry).await?.seq;
    }
    Ok(head)
}

#[tokio::test]
async fn appends_do_not_wait_behind_tails_and_slow_reads_fail_alone() -> Result<()> {
    let fixture = LogFixture::single().await?;
    fill_tail(&fixture).await?;
    let link = Proxy::start(fixture.redis.of_id(fixture.room.as_str()).await?.port()).await?;
    let client = tidings_shared::log::client(&format!("redis://127.0.0.1:{}", link.port()))?;
    let log = Log::start(
        client,
        fixture.authority.clone(),
        LogLimits { max_backlog_records: 1000, ..LogLimits::default() },
    );
    let session = log.session_of(&fixture.room).await?;
    // The link passes at most 16 KiB per 20 ms on each connection. All reads together need about 7 s, twice the timeout
    // of a command.
    link.set(LinkConditions { delay: Duration::from_millis(20), ..LinkConditions::default() });
    let room = fixture.room.clone();
    let reading = (0..80).map(|_| log.read(&room, Some(Seq(0)), Epoch(0), None, &[]));
    let reading = join_all(reading);
    let appending = async {
        for number in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            log.append(&first_attempt(&fixture, &format!("beside-{number}"))).await?;
        }
        Ok::<(), AppendError>(())
    };
    let (reads, appended) = tokio::join!(reading, appending);
    ensure!(appended.is_ok(), "{appended:?}");
    let good = reads.iter().filter(|read| read.is_ok()).count();
    ensure!(good > 0 && good < reads.len(), "{good} of {} reads have succeeded", reads.len());
    link.heal();
    ensure!(
        Arc::ptr_eq(&session, &log.session_of(&fixture.room).await?),
        "a slow read has ended the session"
    );
    log.read(&room, Some(Seq(0)), Epoch(0), None, &[]).await?;
    Ok(())
}

#[tokio::test]
async fn tail_is_read_in_parts_up_to_the_head() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let head = fill_tail(&fixture).await?;
    let whole = fixture.log.read(&fixture.room, Some(Seq(0)), Epoch(0), None, &[]).await?;
    let begin = Seq(whole.records[0].seq.0 - 1);
    ensure!(whole.records.len() > 20 && whole.records_after(begin).is_some_and(|all| all.len() > 20));
    let (mut at, mut seqs) = (begin, Vec::new());
    while at < head {
        let part = TailPart { after: at, max_records: Some(7) };
        let read = fixture.log.read_part(&fixture.room, Some(part), Epoch(0), None, &[]).await?;
        let records = read.next_records(at).expect("the tail has no hole");
        ensure!(read.head.seq == head && (1..=7).contains(&records.len()), "{}", records.len());
        ensure!(read.records_after(at).is_some() == records.last().is_some_and(|last| last.seq == head));
        seqs.extend(records.iter().map(|record| record.seq));
        at = records[records.len() - 1].seq;
    }
    ensure!(seqs == whole.records.iter().map(|record| record.seq).collect::<Vec<_>>(), "{seqs:?}");
    // The first event is not in the tail any more.
    let part = TailPart { after: Seq(0), max_records: Some(7) };
    let read = fixture.log.read_part(&fixture.room, Some(part), Epoch(0), None, &[]).await?;
    ensure!(begin > Seq(0) && read.next_records(Seq(0)).is_none());
    Ok(())
}
