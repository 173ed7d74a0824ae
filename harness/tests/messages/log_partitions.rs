//! One call of `append_many.lua` and one of `stored.lua` for several partitions, on a real Redis: a refusal in one
//! partition or room stops no other.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{FutureExt, StreamExt};
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{
        Accepted, AppendError, Entry, WatermarkUpdate, keys,
        stored::{Stored, StoredQueue},
    },
};

use crate::{
    log_many::{first_attempt, script_calls},
    log_world::LogFixture,
};

/// A room of another partition than that of the fixture.
fn other_room(fixture: &LogFixture) -> RoomId {
    let mut named = (0..).filter_map(|n| RoomId::parse(&format!("other{n}")).ok());
    named.find(|room| keys::Partition::of(room) != fixture.partition()).expect("64 partitions")
}

#[tokio::test]
async fn partition_without_space_stops_no_other_partition() -> Result<()> {
    let fixture = LogFixture::new(2).await?;
    let other = other_room(&fixture);
    let in_other = |client_id| Entry { room: &other, ..first_attempt(&fixture, client_id) };
    // Seeds both rooms and begins both windows of client ids.
    fixture.append("0").await?;
    fixture.log.append(&in_other("0")).await?;
    fixture.append("1").await?;
    let (before, batcher) = (script_calls(&fixture).await?, fixture.log.new_batcher());
    let (mut full, mut appended) = (Vec::new(), Vec::new());
    let (refused, accepted) = ([first_attempt(&fixture, "a")], [in_other("a")]);
    // The test has one thread, so both groups are queued before the task runs that makes the call.
    tokio::join!(
        fixture.log.append_messages(&batcher, &refused, |answer| full.push(answer)),
        fixture.log.append_messages(&batcher, &accepted, |answer| appended.push(answer)),
    );
    ensure!(full == [Err(AppendError::Overloaded)], "{full:?}");
    ensure!(matches!(&appended[..], [Ok(at)] if at.seq == Seq(2) && !at.duplicate), "{appended:?}");
    let calls = script_calls(&fixture).await? - before;
    ensure!(calls == 2, "one call for both rooms and one for the refused message, not {calls}");
    let read = fixture.log.read(&other, Some(Seq(1)), Epoch(0), None, &[]).await?;
    let records: Vec<(&str, &str)> =
        read.records.iter().map(|record| (record.room(), record.client_id())).collect();
    ensure!(records == [(other.as_str(), "a")], "{records:?}");
    Ok(())
}

#[tokio::test]
async fn one_notice_tells_of_the_watermarks_of_all_partitions() -> Result<()> {
    let fixture = LogFixture::single().await?;
    let other = other_room(&fixture);
    let in_other = |client_id| Entry { room: &other, ..fixture.entry(client_id) };
    let session = fixture.log.session_of(&fixture.room).await?;
    let (watermarks, queue) = (fixture.log.watermarks(), Arc::<StoredQueue>::default());
    let channel = fixture.partition().stored();
    let mut subscription = redis::Client::open(fixture.redis.url())?.get_async_pubsub().await?;
    subscription.subscribe(&channel).await?;
    let mut notices = subscription.on_message();
    let stored = |room: &RoomId, accepted: &Accepted, exceptions| WatermarkUpdate {
        partition: keys::Partition::of(room),
        watermark: accepted.ingest.expect("just appended"),
        proof: None,
        exceptions,
    };
    // These are the first watermarks of the epoch, and nobody waits for them.
    let (here, there) = (fixture.append("a").await?, fixture.log.append(&in_other("a")).await?);
    let moved = [stored(&fixture.room, &here, Vec::new()), stored(&other, &there, Vec::new())];
    ensure!(fixture.log.publish_stored(&session, &moved).await == [Ok(true), Ok(true)]);
    let notice = notices.next().await.context("a notice")?;
    ensure!(watermarks.apply_notice(&channel, notice.get_payload_bytes()));
    // The next notice answers all waits at once, without a read of Redis.
    let (here, there) = (fixture.append("b").await?, fixture.log.append(&in_other("b")).await?);
    let rejected = fixture.log.append(&in_other("c")).await?;
    let waits = [(&fixture.room, &here), (&other, &there), (&other, &rejected)];
    for (ticket, (room, accepted)) in (0..).zip(waits) {
        watermarks.enqueue(room, accepted, &queue, ticket);
    }
    let exception = (format!("{other}\u{1f}{}", rejected.seq), "rejected".to_owned());
    let moved = [stored(&fixture.room, &here, Vec::new()), stored(&other, &rejected, vec![exception])];
    ensure!(fixture.log.publish_stored(&session, &moved).await == [Ok(true), Ok(true)]);
    let notice = notices.next().await.context("a notice")?;
    ensure!(watermarks.apply_notice(&channel, notice.get_payload_bytes()));
    let mut results = queue.take_all().now_or_never().context("the notice answers at once")?;
    results.sort_by_key(|(ticket, _)| *ticket);
    let expected = [(0, Stored::AsAccepted), (1, Stored::AsAccepted), (2, Stored::Rejected)];
    ensure!(results == expected, "{results:?}");
    Ok(())
}

#[tokio::test]
async fn watermark_key_of_a_wrong_type_stops_no_other_partition() -> Result<()> {
    let fixture = LogFixture::single().await?;
    let other = other_room(&fixture);
    let here = fixture.append("a").await?;
    let there = fixture.log.append(&Entry { room: &other, ..fixture.entry("a") }).await?;
    let session = fixture.log.session_of(&fixture.room).await?;
    fixture.command::<()>(redis::cmd("RPUSH").arg(fixture.partition().stored()).arg("x")).await?;
    let channel = keys::Partition::of(&other).stored();
    let mut subscription = redis::Client::open(fixture.redis.url())?.get_async_pubsub().await?;
    subscription.subscribe(&channel).await?;
    let stored = |room: &RoomId, accepted: &Accepted| WatermarkUpdate {
        partition: keys::Partition::of(room),
        watermark: accepted.ingest.expect("just appended"),
        proof: None,
        exceptions: Vec::new(),
    };
    let moved = [stored(&fixture.room, &here), stored(&other, &there)];
    let answers = fixture.log.publish_stored(&session, &moved).await;
    ensure!(matches!(&answers[..], [Err(AppendError::Unavailable(_)), Ok(true)]), "{answers:?}");
    ensure!(fixture.log.wait_stored(&other, &there).await == Stored::AsAccepted);
    // The notice is on the channel of the partition in its first line, as gateways of earlier versions expect.
    let mut notices = subscription.on_message();
    let notice = tokio::time::timeout(Duration::from_secs(10), notices.next()).await?.context("a notice")?;
    let text: String = notice.get_payload()?;
    ensure!(text.lines().count() == 1 && text.ends_with(&channel[1..3]), "{text}");
    Ok(())
}

#[tokio::test]
async fn keys_of_a_wrong_type_and_erasures_stop_only_their_own_rooms() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let other = other_room(&fixture);
    let bob = UserId::parse("bob")?;
    let (good, bad) = (&fixture.room, &other);
    fixture.append("0").await?;
    fixture.log.append(&Entry { room: bad, ..fixture.entry("0") }).await?;
    let together = async |client_ids: [&str; 2], sender: &UserId| {
        let batcher = fixture.log.new_batcher();
        let here = [Entry { room: good, ..first_attempt(&fixture, client_ids[0]) }];
        let there = [Entry { room: bad, sender: Some(sender), ..first_attempt(&fixture, client_ids[1]) }];
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        tokio::join!(
            fixture.log.append_messages(&batcher, &here, |answer| accepted.push(answer)),
            fixture.log.append_messages(&batcher, &there, |answer| refused.push(answer)),
        );
        (accepted.pop().expect("one answer").map(|at| at.seq.0), refused.pop().expect("one answer"))
    };
    // Blocks bob only in the partition of the bad room; `block_appends` would block him in all partitions.
    let erased = keys::Partition::of(bad).erased("bob");
    fixture.command::<()>(redis::cmd("SET").arg(erased).arg("1")).await?;
    let before = script_calls(&fixture).await?;
    let answers = together(["a", "b"], &bob).await;
    ensure!(answers == (Ok(2), Err(AppendError::Revoked)), "{answers:?}");
    let calls = script_calls(&fixture).await? - before;
    ensure!(calls == 2, "one call for both rooms and one for the refused message, not {calls}");
    fixture.command::<()>(redis::cmd("DEL").arg(keys::tail(bad))).await?;
    fixture.command::<()>(redis::cmd("SET").arg(keys::tail(bad)).arg("x")).await?;
    let answers = together(["c", "d"], &fixture.alice).await;
    ensure!(matches!(answers, (Ok(3), Err(AppendError::Unavailable(_)))), "a tail: {answers:?}");
    fixture.command::<()>(redis::cmd("SET").arg(keys::room(bad)).arg("x")).await?;
    let answers = together(["e", "f"], &fixture.alice).await;
    ensure!(matches!(answers, (Ok(4), Err(AppendError::Unavailable(_)))), "a room: {answers:?}");
    Ok(())
}

/// Runs a command at the Redis of a room.
async fn run_command_for_room<T: redis::FromRedisValue>(
    fixture: &LogFixture,
    room: &RoomId,
    command: &redis::Cmd,
) -> Result<T> {
    let session = fixture.log.session_of(room).await?;
    Ok(command.query_async(&mut session.connection()).await?)
}

/// With one Redis, the script refuses only the groups of the partition. In a Redis Cluster, each partition has a call
/// of its own in the pipeline.
#[tokio::test]
async fn failed_partition_refuses_only_its_groups() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let other = other_room(&fixture);
    fixture.append("0").await?;
    fixture.log.append(&Entry { room: &other, ..fixture.entry("0") }).await?;
    let ingest = keys::Partition::of(&other).ingest();
    run_command_for_room::<()>(&fixture, &other, redis::cmd("SET").arg(ingest).arg("x")).await?;
    let batcher = fixture.log.new_batcher();
    let here = ["a", "b"].map(|client_id| first_attempt(&fixture, client_id));
    let there = ["a", "b"].map(|client_id| Entry { room: &other, ..first_attempt(&fixture, client_id) });
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    tokio::join!(
        fixture.log.append_messages(&batcher, &here, |answer| accepted.push(answer.map(|at| at.seq.0))),
        fixture.log.append_messages(&batcher, &there, |answer| refused.push(answer)),
    );
    ensure!(accepted == [Ok(2), Ok(3)], "{accepted:?}");
    ensure!(refused.len() == 2 && refused.iter().all(Result::is_err), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn unreadable_watermark_delays_no_other_partition() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let other = other_room(&fixture);
    let here = fixture.append("a").await?;
    let there = fixture.log.append(&Entry { room: &other, ..fixture.entry("a") }).await?;
    let (watermarks, queue) = (fixture.log.watermarks(), Arc::<StoredQueue>::default());
    watermarks.enqueue(&fixture.room, &here, &queue, 0);
    watermarks.enqueue(&other, &there, &queue, 1);
    // Nobody subscribes to notices, so the watermarks are read together, in the order of their partitions.
    let mut rooms = [(0, &fixture.room, &here), (1, &other, &there)];
    rooms.sort_by_key(|(_, room, _)| keys::Partition::of(room));
    let [(_, unreadable, _), (ticket, readable, accepted)] = rooms;
    let key = keys::Partition::of(unreadable).stored();
    run_command_for_room::<()>(&fixture, unreadable, redis::cmd("RPUSH").arg(key).arg("x")).await?;
    let session = fixture.log.session_of(readable).await?;
    let stored = WatermarkUpdate {
        partition: keys::Partition::of(readable),
        watermark: accepted.ingest.context("just appended")?,
        proof: None,
        exceptions: Vec::new(),
    };
    ensure!(fixture.log.publish_stored(&session, &[stored]).await == [Ok(true)]);
    let results = tokio::time::timeout(Duration::from_secs(20), queue.take_all()).await?;
    ensure!(results == [(ticket, Stored::AsAccepted)], "{results:?}");
    Ok(())
}
