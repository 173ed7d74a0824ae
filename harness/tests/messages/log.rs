//! The room log on a real Redis: what the scripts answer, remember, bound and refuse.

use std::time::Duration;

use crate::log_world::World;
use anyhow::{Result, ensure};
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{
        Accepted, AppendError, Entry, Known, ReadMark, RoomHead, Survival,
        keys::{self, Partition},
        record::IngestId,
        stored::Stored,
    },
};

#[tokio::test]
async fn appends_are_dense_and_a_client_id_is_taken_once() -> Result<()> {
    let world = World::new(1000).await?;
    let first = world.append("a").await?;
    let second = world.append("b").await?;
    ensure!((first.seq, second.seq) == (Seq(1), Seq(2)));
    ensure!(second.ingest > first.ingest && second.ingest.is_some());
    let again = world.append("a").await?;
    ensure!(again == Accepted { duplicate: true, ..first.clone() }, "{again:?}");
    let read = world.log.read(&world.room, Some(Seq(0)), Epoch(0), None, &[]).await?;
    ensure!(read.head.seq == Seq(2));
    let records = read.records_after(Seq(0)).expect("the tail reaches back");
    let at = tidings_shared::protocol::server::rfc3339(first.at_ms);
    let expected = format!(r#"{{"type":"message:new","room":"r","seq":1,"at":"{at}","client_id":"a"}}"#);
    ensure!(records[0].json() == expected.as_bytes(), "{}", String::from_utf8_lossy(records[0].json()));
    ensure!((records[0].sender(), records[0].client_id(), records[0].id()) == ("alice", "a", "id-of-a"));
    Ok(())
}

#[tokio::test]
async fn an_unknown_client_id_is_looked_up_unless_it_is_a_first_attempt() -> Result<()> {
    let world = World::new(1000).await?;
    world.append("a").await?;
    ensure!(*world.script.look_ups.lock().unwrap() == 1);
    world.log.append(&Entry { first_attempt: true, ..world.entry("b") }).await?;
    // The epoch is younger than the client-id memory is long: even a fresh UUIDv7 may have been sent before it.
    let young = uuid::Uuid::now_v7().to_string();
    world.append(&young).await?;
    ensure!(*world.script.look_ups.lock().unwrap() == 2);
    let known = Known::Stored { seq: Seq(1), id: "old".into(), at_ms: 7 };
    world.script.known.lock().unwrap().insert("known".into(), known);
    world.script.known.lock().unwrap().insert("bad".into(), Known::Rejected);
    let found = world.append("known").await?;
    ensure!(
        (found.seq, found.id.as_str(), found.at_ms, found.ingest) == (Seq(1), "old", 7, None)
            && found.duplicate
    );
    ensure!(world.append("bad").await == Err(AppendError::Rejected));
    Ok(())
}

#[tokio::test]
async fn a_full_backlog_refuses_all_but_what_is_exempt() -> Result<()> {
    let world = World::new(3).await?;
    for n in 0..3 {
        world.append(&n.to_string()).await?;
    }
    ensure!(world.append("more").await == Err(AppendError::Overloaded));
    ensure!(world.append("0").await?.duplicate, "what was taken is still answered");
    let mark = ReadMark { user: world.alice.clone(), seq: Seq(1), delivered: false };
    ensure!(world.log.mark(&world.room, &[mark]).await == Err(AppendError::Overloaded));
    world.log.append(&Entry { exempt_from_backlog: true, ..world.entry("removal") }).await?;
    Ok(())
}

#[tokio::test]
async fn marks_archives_and_strange_rooms_refuse() -> Result<()> {
    let world = World::new(1000).await?;
    let bob = UserId::parse("bob")?;
    let by_bob = |client_id| Entry { sender: Some(&bob), ..world.entry(client_id) };
    world.log.append(&by_bob("1")).await?;
    world.log.append(&Entry { membership: Some((&bob, "guest")), ..world.entry("demote") }).await?;
    ensure!(world.log.append(&by_bob("2")).await == Err(AppendError::RoleTooLow));
    world.log.append(&Entry { membership: Some((&bob, "moderator")), ..world.entry("promote") }).await?;
    world.log.append(&by_bob("3")).await?;
    world.log.append(&Entry { membership: Some((&bob, "removed")), ..world.entry("remove") }).await?;
    ensure!(world.log.append(&by_bob("4")).await == Err(AppendError::Revoked));
    ensure!(world.log.append(&by_bob("3")).await?.duplicate);
    world.command::<()>(redis::cmd("HSET").arg(keys::room(&world.room)).arg("archived").arg("1")).await?;
    ensure!(world.append("5").await == Err(AppendError::Archived));
    world.log.append(&Entry { allowed_in_archive: true, ..world.entry("6") }).await?;
    let nowhere = RoomId::parse("nowhere")?;
    ensure!(
        world.log.append(&Entry { room: &nowhere, ..world.entry("7") }).await == Err(AppendError::NoSuchRoom)
    );
    Ok(())
}

#[tokio::test]
async fn the_tail_is_bounded_in_events_and_bytes_and_never_has_a_hole() -> Result<()> {
    let world = World::new(100_000).await?;
    for n in 0..300 {
        world.log.append(&Entry { first_attempt: true, ..world.entry(&n.to_string()) }).await?;
    }
    let length: usize = world.command(redis::cmd("XLEN").arg(keys::tail(&world.room))).await?;
    ensure!((100..=256).contains(&length), "{length}");
    let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(9000));
    for n in 0..20 {
        let client_id = format!("long-{n}");
        world
            .log
            .append(&Entry { first_attempt: true, body: body.clone(), ..world.entry(&client_id) })
            .await?;
        let read = world.log.read(&world.room, Some(Seq(0)), Epoch(0), None, &[]).await?;
        let bytes: usize = read.records.iter().map(|record| record.raw().len()).sum();
        ensure!(bytes <= 65_536, "{bytes} bytes");
        let first = read.records[0].seq;
        ensure!(read.records_after(Seq(first.0 - 1)).is_some(), "a hole");
    }
    Ok(())
}

#[tokio::test]
async fn stored_is_answered_by_the_watermark_with_its_exceptions() -> Result<()> {
    let world = World::new(1000).await?;
    let partition = Partition::of(&world.room);
    let mut waits = Vec::new();
    for client_id in ["a", "b", "c"] {
        let accepted = world.append(client_id).await?;
        let (log, room, waited) = (world.log.clone(), world.room.clone(), accepted.clone());
        waits.push((accepted, tokio::spawn(async move { log.wait_stored(&room, &waited).await })));
    }
    let session = world.log.session().await?;
    let last = waits[2].0.ingest.expect("just appended");
    let exceptions = vec![
        ("r\u{1f}2".to_owned(), "1 id-of-a 5".to_owned()),
        ("r\u{1f}3".to_owned(), "rejected".to_owned()),
    ];
    ensure!(world.tell_stored(&session, last, exceptions).await?);
    let mut outcomes = Vec::new();
    for (_, wait) in waits {
        outcomes.push(wait.await?);
    }
    let first = Stored::First { seq: Seq(1), id: "id-of-a".into(), at_ms: 5 };
    ensure!(outcomes == [Stored::Here, first.clone(), Stored::Rejected], "{outcomes:?}");
    // Asked again later, the same.
    let again = world.append("b").await?;
    ensure!(world.log.wait_stored(&world.room, &again).await == first);
    // The last stored record stays, what is before it is trimmed.
    let length: usize = world.command(redis::cmd("XLEN").arg(partition.ingest())).await?;
    ensure!(length == 1, "{length}");
    // A watermark never moves back.
    world.tell_stored(&session, IngestId { ms: 1, n: 0 }, Vec::new()).await?;
    ensure!(world.log.wait_stored(&world.room, &again).await == first);
    Ok(())
}

#[tokio::test]
async fn another_process_gets_an_epoch_of_its_own_before_it_is_written_to() -> Result<()> {
    let world = World::new(1000).await?;
    let before = world.append("a").await?;
    let (log, room, waited) = (world.log.clone(), world.room.clone(), before.clone());
    let wait = tokio::spawn(async move { log.wait_stored(&room, &waited).await });
    world.redis.restart().await?;
    let mut after = world.append("b").await;
    for _ in 0..50 {
        if after.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = world.append("b").await;
    }
    let after = after?;
    ensure!((before.epoch, after.epoch) == (Epoch(1), Epoch(2)));
    ensure!(world.script.run_ids.lock().unwrap().len() == 2);
    // A wait of the old epoch cannot be answered by the new one's watermark.
    let session = world.log.session().await?;
    let last = after.ingest.expect("just appended");
    ensure!(world.tell_stored(&session, last, Vec::new()).await?);
    ensure!(wait.await? == Stored::Unavailable);
    ensure!(world.log.wait_stored(&world.room, &after).await == Stored::Here);
    Ok(())
}

#[tokio::test]
async fn a_seed_writes_only_where_the_hash_is_what_it_read() -> Result<()> {
    let world = World::new(1000).await?;
    world.append("a").await?;
    let session = world.log.session().await?;
    let head = RoomHead { epoch: session.epoch, seq: Seq(9), ..RoomHead::default() };
    let stale = [None, Some((Epoch(1), Seq(0))), Some((Epoch(9), Seq(1)))];
    for read in stale {
        ensure!(
            !world.log.write_seed(&session, &world.room, read, &head, Survival::Nothing).await?,
            "{read:?}"
        );
    }
    ensure!(
        world
            .log
            .write_seed(&session, &world.room, Some((Epoch(1), Seq(1))), &head, Survival::Nothing)
            .await?
    );
    ensure!(world.append("b").await?.seq == Seq(10));
    Ok(())
}

#[tokio::test]
async fn a_redis_without_memory_refuses_events_keeps_its_tail_and_can_still_be_drained() -> Result<()> {
    let world = World::new(1000).await?;
    for n in 0..20 {
        world.log.append(&Entry { first_attempt: true, ..world.entry(&n.to_string()) }).await?;
    }
    let accepted = world.append("last").await?;
    let set = |bytes: &str| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(bytes);
        command
    };
    world.command::<()>(&mut set("1")).await?;
    for n in 0..3 {
        ensure!(world.append(&format!("over-{n}")).await == Err(AppendError::Overloaded));
    }
    let delete = Entry { drops_tail: true, ..world.entry("delete") };
    ensure!(world.log.append(&delete).await == Err(AppendError::Overloaded));
    let tail: usize = world.command(redis::cmd("XLEN").arg(keys::tail(&world.room))).await?;
    ensure!(tail == 21, "{tail}");
    let session = world.log.session().await?;
    let exceptions = vec![("r\u{1f}1".to_owned(), "rejected".to_owned())];
    ensure!(world.tell_stored(&session, accepted.ingest.expect("just appended"), exceptions).await?);
    ensure!(world.log.wait_stored(&world.room, &accepted).await == Stored::Here);
    world.command::<()>(&mut set("0")).await?;
    ensure!(world.append("again").await?.seq == Seq(22));
    Ok(())
}
