//! The room log on a real Redis: answers, memory, bounds and refusals of its scripts. Long because each script has its
//! tests here.

use std::time::{Duration, Instant};

use crate::log_world::LogFixture;
use anyhow::{Context, Result, ensure};
use tidings_harness::redis::Redis;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{
        Accepted, AppendError, Entry, KnownClientId, ReadMark, RoomHead, Survival, WatermarkUpdate,
        keys::{self, Partition},
        record::IngestId,
        stored::Stored,
        stored_state::read_stored_states,
    },
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Much longer than the log needs to open a session.
const SESSION_OPENING_TIME: Duration = Duration::from_millis(500);

#[tokio::test]
async fn appends_are_dense_and_client_ids_unique() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let first = fixture.append("a").await?;
    let second = fixture.append("b").await?;
    ensure!((first.seq, second.seq) == (Seq(1), Seq(2)));
    ensure!(second.ingest > first.ingest && second.ingest.is_some());
    let again = fixture.append("a").await?;
    ensure!(again == Accepted { duplicate: true, ..first.clone() }, "{again:?}");
    let read = fixture.log.read(&fixture.room, Some(Seq(0)), Epoch(0), None, &[]).await?;
    ensure!(read.head.seq == Seq(2));
    let records = read.records_after(Seq(0)).expect("the tail starts at the first record");
    let at = tidings_shared::protocol::server::rfc3339(first.at_ms);
    let expected = format!(r#"{{"type":"message:new","room":"r","seq":1,"at":"{at}","client_id":"a"}}"#);
    ensure!(records[0].json() == expected.as_bytes(), "{}", String::from_utf8_lossy(records[0].json()));
    ensure!((records[0].sender(), records[0].client_id(), records[0].id()) == ("alice", "a", "id-of-a"));
    Ok(())
}

#[tokio::test]
async fn unknown_client_id_is_looked_up_unless_first_attempt() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    ensure!(*fixture.authority.look_ups.lock().unwrap() == 1);
    fixture.log.append(&Entry { first_attempt: true, ..fixture.entry("b") }).await?;
    // Even a new UUIDv7 may have been sent before the epoch.
    let young = uuid::Uuid::now_v7().to_string();
    fixture.append(&young).await?;
    ensure!(*fixture.authority.look_ups.lock().unwrap() == 2);
    let known = KnownClientId::Stored { seq: Seq(1), id: "old".into(), at_ms: 7 };
    fixture.authority.known.lock().unwrap().insert("known".into(), known);
    fixture.authority.known.lock().unwrap().insert("bad".into(), KnownClientId::Rejected);
    let found = fixture.append("known").await?;
    ensure!(
        (found.seq, found.id.as_str(), found.at_ms, found.ingest) == (Seq(1), "old", 7, None)
            && found.duplicate
    );
    ensure!(fixture.append("bad").await == Err(AppendError::Rejected));
    Ok(())
}

#[tokio::test]
async fn full_backlog_refuses_all_but_exempt_entries() -> Result<()> {
    let fixture = LogFixture::new(3).await?;
    for n in 0..3 {
        fixture.append(&n.to_string()).await?;
    }
    ensure!(fixture.append("more").await == Err(AppendError::Overloaded));
    ensure!(fixture.append("0").await?.duplicate, "an accepted client id must still be answered");
    let mark = ReadMark { user: fixture.alice.clone(), seq: Seq(1), delivered: false };
    ensure!(fixture.log.mark(&fixture.room, &[mark]).await == Err(AppendError::Overloaded));
    fixture.log.append(&Entry { exempt_from_backlog: true, ..fixture.entry("removal") }).await?;
    Ok(())
}

#[tokio::test]
async fn role_mark_archive_and_unknown_room_refuse_appends() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let bob = UserId::parse("bob")?;
    let by_bob = |client_id| Entry { sender: Some(&bob), ..fixture.entry(client_id) };
    fixture.log.append(&by_bob("1")).await?;
    fixture.log.append(&Entry { membership: Some((&bob, "guest")), ..fixture.entry("demote") }).await?;
    ensure!(fixture.log.append(&by_bob("2")).await == Err(AppendError::RoleTooLow));
    fixture.log.append(&Entry { membership: Some((&bob, "moderator")), ..fixture.entry("promote") }).await?;
    fixture.log.append(&by_bob("3")).await?;
    fixture.log.append(&Entry { membership: Some((&bob, "removed")), ..fixture.entry("remove") }).await?;
    ensure!(fixture.log.append(&by_bob("4")).await == Err(AppendError::Revoked));
    ensure!(fixture.log.append(&by_bob("3")).await?.duplicate);
    fixture.command::<()>(redis::cmd("HSET").arg(keys::room(&fixture.room)).arg("archived").arg("1")).await?;
    ensure!(fixture.append("5").await == Err(AppendError::Archived));
    fixture.log.append(&Entry { allowed_in_archive: true, ..fixture.entry("6") }).await?;
    let missing_room = RoomId::parse("nowhere")?;
    ensure!(
        fixture.log.append(&Entry { room: &missing_room, ..fixture.entry("7") }).await
            == Err(AppendError::NoSuchRoom)
    );
    Ok(())
}

#[tokio::test]
async fn tail_is_bounded_in_events_and_bytes_without_hole() -> Result<()> {
    let fixture = LogFixture::new(100_000).await?;
    for n in 0..300 {
        fixture.log.append(&Entry { first_attempt: true, ..fixture.entry(&n.to_string()) }).await?;
    }
    let length: usize = fixture.command(redis::cmd("XLEN").arg(keys::tail(&fixture.room))).await?;
    ensure!((100..=256).contains(&length), "{length}");
    for (n, length) in [9000; 20].into_iter().chain([500, 15_000, 60_000]).enumerate() {
        let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(length));
        let client_id = format!("long-{n}");
        fixture.log.append(&Entry { first_attempt: true, body, ..fixture.entry(&client_id) }).await?;
        let read = fixture.log.read(&fixture.room, Some(Seq(0)), Epoch(0), None, &[]).await?;
        let bytes: usize = read.records.iter().map(|record| record.raw().len()).sum();
        ensure!(bytes <= 65_536, "{bytes} bytes");
        let first = read.records[0].seq;
        ensure!(read.records_after(Seq(first.0 - 1)).is_some(), "the tail has a hole");
        ensure!(bytes > 47_000 || n < 6 || length > 32_000, "only {bytes} bytes are left");
    }
    Ok(())
}

#[tokio::test]
async fn tail_that_follows_a_dropped_one_expires() -> Result<()> {
    let fixture = LogFixture::new(100).await?;
    for drops in [false, true] {
        fixture.append(&format!("first-{drops}")).await?;
        if drops {
            fixture.log.append(&Entry { drops_tail: true, ..fixture.entry("delete") }).await?;
        } else {
            fixture.log.drop_tails(std::slice::from_ref(&fixture.room)).await?;
            fixture.append("next").await?;
        }
        let ttl: i64 = fixture.command(redis::cmd("TTL").arg(keys::tail(&fixture.room))).await?;
        ensure!((1..=600).contains(&ttl), "{ttl}");
    }
    Ok(())
}

#[tokio::test]
async fn stored_wait_is_answered_by_watermark_and_exceptions() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let partition = Partition::of(&fixture.room);
    let mut waits = Vec::new();
    for client_id in ["a", "b", "c"] {
        let accepted = fixture.append(client_id).await?;
        let (log, room, waited) = (fixture.log.clone(), fixture.room.clone(), accepted.clone());
        waits.push((accepted, tokio::spawn(async move { log.wait_stored(&room, &waited).await })));
    }
    let session = fixture.log.session_of(&fixture.room).await?;
    let last = waits[2].0.ingest.expect("just appended");
    let exceptions = vec![
        ("r\u{1f}2".to_owned(), "1 id-of-a 5".to_owned()),
        ("r\u{1f}3".to_owned(), "rejected".to_owned()),
    ];
    ensure!(fixture.publish_stored(&session, last, exceptions).await?);
    let mut outcomes = Vec::new();
    for (_, wait) in waits {
        outcomes.push(wait.await?);
    }
    let first = Stored::First { seq: Seq(1), id: "id-of-a".into(), at_ms: 5 };
    ensure!(outcomes == [Stored::AsAccepted, first.clone(), Stored::Rejected], "{outcomes:?}");
    // A later wait gets the same answer.
    let again = fixture.append("b").await?;
    ensure!(fixture.log.wait_stored(&fixture.room, &again).await == first);
    // The last stored record stays; older ones are trimmed.
    let length: usize = fixture.command(redis::cmd("XLEN").arg(partition.ingest())).await?;
    ensure!(length == 1, "{length}");
    // A watermark never moves back.
    fixture.publish_stored(&session, IngestId { ms: 1, n: 0 }, Vec::new()).await?;
    ensure!(fixture.log.wait_stored(&fixture.room, &again).await == first);
    Ok(())
}

/// Repeats an append until Redis accepts it, because the log opens a new session.
async fn append_until_accepted(fixture: &LogFixture, client_id: &str) -> Result<Accepted> {
    let begun = Instant::now();
    loop {
        match fixture.append(client_id).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => ensure!(begun.elapsed() < WAIT_TIMEOUT, "{client_id} is not accepted: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Promotes the Redis of the log, whose session then ends, as when its connections break.
async fn promote(fixture: &LogFixture, redis: &Redis) -> Result<()> {
    redis.promote().await?;
    // A session that was being opened may have asked for the identity of the process before the promotion.
    tokio::time::sleep(SESSION_OPENING_TIME).await;
    if let Some(session) = fixture.log.current_session(fixture.partition()) {
        fixture.log.discard(&session);
    }
    Ok(())
}

/// Makes a process the replica of another one, and waits until it has the data of this one.
async fn follow(replica: &Redis, primary: &Redis) -> Result<()> {
    // With the default of this setting, a primary waits 5 s for more replicas.
    let delay = redis::cmd("CONFIG").arg("SET").arg("repl-diskless-sync-delay").arg(0).to_owned();
    primary.command::<()>(&delay).await?;
    let follow = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(primary.port()).to_owned();
    replica.command::<()>(&follow).await?;
    let begun = Instant::now();
    while !replica.is_in_sync().await {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the replica is not in sync");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The data of a process go back to those of its former replica. The process runs all the time.
#[tokio::test]
async fn process_promoted_with_older_data_gets_new_epoch() -> Result<()> {
    let fixture = LogFixture::single().await?;
    fixture.append("a").await?;
    let (redis, older) = (fixture.redis.single().context("one Redis")?, Redis::start().await?);
    follow(&older, redis).await?;
    older.promote().await?;
    let lost = fixture.append("b").await?;
    follow(redis, &older).await?;
    promote(&fixture, redis).await?;
    let next = append_until_accepted(&fixture, "c").await?;
    ensure!(next.seq == lost.seq, "b is not lost: {lost:?}, {next:?}");
    ensure!(next.epoch > lost.epoch, "seq {} of epoch {} is given twice", lost.seq, lost.epoch);
    Ok(())
}

#[tokio::test]
async fn late_owner_does_not_overwrite_watermark_of_later_epoch() -> Result<()> {
    let fixture = LogFixture::single().await?;
    let first = fixture.append("a").await?;
    let former = fixture.log.session_of(&fixture.room).await?;
    // A promotion begins an epoch. The process keeps the scripts of the epoch before.
    let redis = fixture.redis.single().context("one Redis")?;
    redis.command::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await?;
    promote(&fixture, redis).await?;
    let second = append_until_accepted(&fixture, "b").await?;
    ensure!((first.epoch, second.epoch) == (Epoch(1), Epoch(2)));
    let (first, second) = (first.ingest.context("just appended")?, second.ingest.context("just appended")?);
    let session = fixture.log.session_of(&fixture.room).await?;
    ensure!(fixture.publish_stored(&session, second, Vec::new()).await?);
    let answer = fixture.publish_stored(&former, first, Vec::new()).await;
    let held: String = fixture.command(redis::cmd("GET").arg(fixture.partition().stored())).await?;
    ensure!(answer == Ok(false) && held == format!("2 {second}"), "the watermark is {held}: {answer:?}");
    Ok(())
}

/// A former owner of the partition was paused between its COMMIT and the watermark.
#[tokio::test]
async fn late_watermark_does_not_replace_the_proof() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let (first, second) = (fixture.append("a").await?, fixture.append("b").await?);
    let session = fixture.log.session_of(&fixture.room).await?;
    for stored in [&second, &first] {
        let update = WatermarkUpdate {
            partition: fixture.partition(),
            watermark: stored.ingest.expect("just appended"),
            proof: Some((fixture.room.clone(), stored.seq)),
            exceptions: Vec::new(),
        };
        ensure!(fixture.log.publish_stored(&session, &[update]).await == [Ok(true)]);
        let states = read_stored_states(&mut session.connection(), &[fixture.partition()]).await?;
        ensure!(states[0].1.proof == Some((fixture.room.clone(), second.seq)), "{states:?}");
    }
    Ok(())
}

/// Redis keeps the marks of too many users while PostgreSQL does not have the latest ones.
#[tokio::test]
async fn marks_are_dropped_only_when_their_records_are_stored() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    for client_id in ["a", "b", "c"] {
        fixture.append(client_id).await?;
    }
    let mark = async |user: &str, seq: u64| -> Result<(Option<Seq>, IngestId)> {
        let mark = ReadMark { user: UserId::parse(user)?, seq: Seq(seq), delivered: false };
        let marked = fixture.log.mark(&fixture.room, &[mark]).await?;
        Ok((marked.positions[0], marked.accepted.ingest.expect("a mark was appended")))
    };
    ensure!(mark("alice", 3).await?.0 == Some(Seq(3)));
    let key = keys::marks(&fixture.room);
    let mut fill = redis::cmd("HSET");
    fill.arg(&key);
    for number in 0..10_001 {
        fill.arg(format!("user{number}")).arg("1 0 0 0 0");
    }
    fixture.command::<usize>(&mut fill).await?;
    mark("bob", 1).await?;
    // Another device of alice is behind. Persistence would answer that nothing is read.
    let (position, last) = mark("alice", 2).await?;
    ensure!(position == Some(Seq(3)), "the mark moved back to {position:?}");
    let session = fixture.log.session_of(&fixture.room).await?;
    ensure!(fixture.publish_stored(&session, last, Vec::new()).await?);
    mark("bob", 2).await?;
    let kept: usize = fixture.command(redis::cmd("HLEN").arg(&key)).await?;
    ensure!(kept < 100, "{kept} fields are kept");
    Ok(())
}

#[tokio::test]
async fn new_redis_process_gets_own_epoch_before_writes() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let before = fixture.append("a").await?;
    let (log, room, waited) = (fixture.log.clone(), fixture.room.clone(), before.clone());
    let wait = tokio::spawn(async move { log.wait_stored(&room, &waited).await });
    fixture.redis.restart().await?;
    let after = append_until_accepted(&fixture, "b").await?;
    ensure!((before.epoch, after.epoch) == (Epoch(1), Epoch(2)));
    let mut read_epoch = redis::cmd("HGET");
    let hash_epoch: u64 = fixture.command(read_epoch.arg(keys::room(&fixture.room)).arg("epoch")).await?;
    ensure!(hash_epoch == 2, "an event was appended to a hash of epoch {hash_epoch}");
    ensure!(fixture.authority.epoch_count().await == 2);
    // A watermark of the new epoch cannot answer a wait that began in the old epoch.
    let session = fixture.log.session_of(&fixture.room).await?;
    let last = after.ingest.expect("just appended");
    ensure!(fixture.publish_stored(&session, last, Vec::new()).await?);
    ensure!(wait.await? == Stored::Unavailable);
    ensure!(fixture.log.wait_stored(&fixture.room, &after).await == Stored::AsAccepted);
    Ok(())
}

#[tokio::test]
async fn seed_writes_only_if_room_hash_is_unchanged() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    let session = fixture.log.session_of(&fixture.room).await?;
    let head = RoomHead { epoch: session.epoch, seq: Seq(9), ..RoomHead::default() };
    let stale = [None, Some((Epoch(1), Seq(0))), Some((Epoch(9), Seq(1)))];
    for read in stale {
        ensure!(
            !fixture.log.write_seed(&session, &fixture.room, read, &head, Survival::Nothing).await?,
            "{read:?}"
        );
    }
    ensure!(
        fixture
            .log
            .write_seed(&session, &fixture.room, Some((Epoch(1), Seq(1))), &head, Survival::Nothing)
            .await?
    );
    ensure!(fixture.append("b").await?.seq == Seq(10));
    Ok(())
}

#[tokio::test]
async fn full_redis_refuses_events_keeps_tail_and_can_drain() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    for n in 0..20 {
        fixture.log.append(&Entry { first_attempt: true, ..fixture.entry(&n.to_string()) }).await?;
    }
    let accepted = fixture.append("last").await?;
    let set = |bytes: &str| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(bytes);
        command
    };
    fixture.command::<()>(&mut set("1")).await?;
    for n in 0..3 {
        ensure!(fixture.append(&format!("over-{n}")).await == Err(AppendError::Overloaded));
    }
    let delete = Entry { drops_tail: true, ..fixture.entry("delete") };
    ensure!(fixture.log.append(&delete).await == Err(AppendError::Overloaded));
    let tail: usize = fixture.command(redis::cmd("XLEN").arg(keys::tail(&fixture.room))).await?;
    ensure!(tail == 21, "{tail}");
    let session = fixture.log.session_of(&fixture.room).await?;
    let exceptions = vec![("r\u{1f}1".to_owned(), "rejected".to_owned())];
    ensure!(fixture.publish_stored(&session, accepted.ingest.expect("just appended"), exceptions).await?);
    ensure!(fixture.log.wait_stored(&fixture.room, &accepted).await == Stored::AsAccepted);
    fixture.command::<()>(&mut set("0")).await?;
    ensure!(fixture.append("again").await?.seq == Seq(22));
    Ok(())
}
