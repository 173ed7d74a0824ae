//! Many messages in one call of `append_many.lua`, on a real Redis: each is answered as if it was appended alone.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Accepted, AppendError, Entry, KnownClientId, Record, keys},
};

use crate::log_world::LogFixture;

/// Appends messages of one room together. Returns each answer as `seq` and `duplicate`, or the error.
async fn append_all(fixture: &LogFixture, entries: &[Entry<'_>]) -> Vec<Result<(u64, bool), AppendError>> {
    let mut answers = Vec::new();
    let answered = |answer: Result<Accepted, AppendError>| {
        answers.push(answer.map(|at| (at.seq.0, at.duplicate)));
    };
    fixture.log.append_messages(&fixture.log.new_batcher(), entries, answered).await;
    answers
}

pub fn first_attempt<'a>(fixture: &'a LogFixture, client_id: &str) -> Entry<'a> {
    Entry { first_attempt: true, ..fixture.entry(client_id) }
}

pub async fn script_calls(fixture: &LogFixture) -> Result<u64> {
    command_calls(fixture, "evalsha").await
}

/// How often Redis has executed a command, also for scripts.
pub async fn command_calls(fixture: &LogFixture, command: &str) -> Result<u64> {
    let stats: String = fixture.command(redis::cmd("INFO").arg("commandstats")).await?;
    let beginning = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(beginning.as_str()));
    Ok(line.and_then(|line| line.split(',').next()).map_or(Ok(0), str::parse)?)
}

#[tokio::test]
async fn waiting_messages_are_appended_by_one_call() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    // Seeds the room and begins the window of client ids.
    fixture.append("0").await?;
    let before = script_calls(&fixture).await?;
    let names: Vec<String> = (1..=40).map(|n| n.to_string()).collect();
    let entries: Vec<Entry<'_>> = names.iter().map(|name| first_attempt(&fixture, name)).collect();
    let answers = append_all(&fixture, &entries).await;
    ensure!(answers == (2..=41).map(|seq| Ok((seq, false))).collect::<Vec<_>>(), "{answers:?}");
    ensure!(script_calls(&fixture).await? - before == 1, "one call for all of them");
    let read = fixture.log.read(&fixture.room, Some(Seq(1)), Epoch(0), None, &[]).await?;
    let records = read.records_after(Seq(1)).expect("the tail has no hole");
    let ids: Vec<&str> = records.iter().map(Record::client_id).collect();
    ensure!(ids == names, "{ids:?}");
    ensure!(records.iter().all(|record| record.at_ms == records[0].at_ms));
    let at = tidings_shared::protocol::server::rfc3339(records[0].at_ms);
    let expected = format!(r#"{{"type":"message:new","room":"r","seq":2,"at":"{at}","client_id":"1"}}"#);
    ensure!(records[0].json() == expected.as_bytes(), "{}", String::from_utf8_lossy(records[0].json()));
    let backlog: usize = fixture.command(redis::cmd("XLEN").arg(fixture.partition().ingest())).await?;
    ensure!(backlog == 41, "{backlog} records wait to be stored");
    Ok(())
}

/// Neither the messages of an owner nor the refused messages of a member are sent to Redis again and again.
#[tokio::test]
async fn group_in_a_slow_room_is_appended_message_by_message() -> Result<()> {
    let names: Vec<String> = (1..=40).map(|n| n.to_string()).collect();
    for obeys_slow_mode in [false, true] {
        let fixture = LogFixture::new(1000).await?;
        fixture.append("0").await?;
        let mut set = redis::cmd("HSET");
        set.arg(keys::room(&fixture.room)).arg(&["archived", "slow", "slow_mode_s", "3600"]);
        let _: usize = fixture.command(&mut set).await?;
        let before = script_calls(&fixture).await?;
        let entry = |name: &String| Entry { obeys_slow_mode, ..first_attempt(&fixture, name) };
        let entries: Vec<Entry<'_>> = names.iter().map(entry).collect();
        let answers = append_all(&fixture, &entries).await;
        let is_slow = |answer: &_| matches!(answer, Err(AppendError::SlowMode(_)));
        let refused = answers.iter().filter(|answer| is_slow(answer)).count();
        ensure!(answers[0] == Ok((2, false)), "{:?}", answers[0]);
        ensure!(refused == if obeys_slow_mode { 39 } else { 0 }, "{refused} are refused");
        let groups = script_calls(&fixture).await? - before - 40;
        ensure!(groups == 2, "{groups} groups besides a call for each message");
    }
    Ok(())
}

/// The previous version writes `slow` for a room that is open and has slow mode, this version writes `0`.
#[tokio::test]
async fn group_obeys_slow_mode_whatever_archived_says() -> Result<()> {
    for archived in ["0", "slow"] {
        let fixture = LogFixture::new(1000).await?;
        fixture.append("0").await?;
        let mut set = redis::cmd("HSET");
        set.arg(keys::room(&fixture.room)).arg(&["archived", archived, "slow_mode_s", "3600"]);
        let _: usize = fixture.command(&mut set).await?;
        let entries = ["a", "b"].map(|name| Entry { obeys_slow_mode: true, ..first_attempt(&fixture, name) });
        let answers = append_all(&fixture, &entries).await;
        ensure!(
            matches!(&answers[..], [Ok((2, false)), Err(AppendError::SlowMode(_))]),
            "{archived}: {answers:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn repeated_message_of_a_group_gets_its_first_answer() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    let repeated = ["b", "a", "b", "c"].map(|name| first_attempt(&fixture, name));
    let answers = append_all(&fixture, &repeated).await;
    ensure!(answers == [Ok((2, false)), Ok((1, true)), Ok((2, true)), Ok((3, false))], "{answers:?}");
    let answers = append_all(&fixture, &["d", "d", "e"].map(|name| first_attempt(&fixture, name))).await;
    ensure!(answers == [Ok((4, false)), Ok((4, true)), Ok((5, false))], "twice in one call: {answers:?}");
    Ok(())
}

#[tokio::test]
async fn client_id_of_the_previous_window_is_known() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    // Renames the present window of client ids to the one before, as if time had passed.
    let key = fixture.partition().sent();
    let windows: Vec<u64> = fixture.command(redis::cmd("LRANGE").arg(&key).arg(0).arg(-1)).await?;
    let earlier = windows[0] - 1;
    fixture
        .command::<()>(
            redis::cmd("RENAME").arg(format!("{key}:{}", windows[0])).arg(format!("{key}:{earlier}")),
        )
        .await?;
    fixture.command::<()>(redis::cmd("LSET").arg(&key).arg(0).arg(earlier)).await?;
    // The new window has not begun, so `append.lua` decides the first group and begins it. `append_many.lua` decides
    // the second group.
    let answers = append_all(&fixture, &["b", "a", "c"].map(|name| first_attempt(&fixture, name))).await;
    ensure!(answers == [Ok((2, false)), Ok((1, true)), Ok((3, false))], "{answers:?}");
    let answers = append_all(&fixture, &["d", "a"].map(|name| first_attempt(&fixture, name))).await;
    ensure!(answers == [Ok((4, false)), Ok((1, true))], "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn window_that_is_not_the_newest_is_left_to_single_appends() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    let key = fixture.partition().sent();
    let windows: Vec<u64> = fixture.command(redis::cmd("LRANGE").arg(&key).arg(0).arg(-1)).await?;
    let window = format!("{key}:{}", windows[0]);
    let last: String = fixture.command(redis::cmd("HGET").arg(&window).arg("last")).await?;
    append_all(&fixture, &["b", "c"].map(|name| first_attempt(&fixture, name))).await;
    let moved: String = fixture.command(redis::cmd("HGET").arg(&window).arg("last")).await?;
    ensure!(moved > last, "the window must outlive its last record: {last}, then {moved}");
    // Simulates a clock that was set back: a later window already knows the client id.
    let later = windows[0] + 1;
    fixture.command::<()>(redis::cmd("RPUSH").arg(&key).arg(later)).await?;
    fixture.command::<()>(redis::cmd("HSET").arg(&window).arg("later").arg(later)).await?;
    let entry: String = fixture.command(redis::cmd("HGET").arg(&window).arg("r\u{1f}alice\u{1f}c")).await?;
    let remembered = format!("{key}:{later}");
    fixture.command::<()>(redis::cmd("HSET").arg(&remembered).arg("r\u{1f}alice\u{1f}x").arg(entry)).await?;
    let answers = append_all(&fixture, &["x", "d"].map(|name| first_attempt(&fixture, name))).await;
    ensure!(answers == [Ok((3, true)), Ok((4, false))], "{answers:?}");
    Ok(())
}

/// Each append of `append_many.lua` reads all windows that the newest one names.
#[tokio::test]
async fn new_window_names_only_windows_that_are_kept() -> Result<()> {
    for is_stored in [false, true] {
        let fixture = LogFixture::new(1000).await?;
        let accepted = fixture.append("a").await?;
        let key = fixture.partition().sent();
        let mut list = redis::cmd("LRANGE");
        list.arg(&key).arg(0).arg(-1);
        let windows: Vec<u64> = fixture.command(&mut list).await?;
        // Renames the newest window, as if time had passed.
        let rename = async |index: usize, from: u64, to: u64| {
            let (from, renamed) = (format!("{key}:{from}"), format!("{key}:{to}"));
            fixture.command::<()>(redis::cmd("RENAME").arg(from).arg(renamed)).await?;
            fixture.command::<()>(redis::cmd("LSET").arg(&key).arg(index).arg(to)).await
        };
        let old = windows[0] - 2;
        rename(0, windows[0], old).await?;
        if is_stored {
            let watermark = accepted.ingest.expect("just appended");
            fixture
                .publish_stored(&fixture.log.session_of(&fixture.room).await?, watermark, Vec::new())
                .await?;
        }
        // One earlier window is kept, however old it is.
        fixture.append("b").await?;
        let windows: Vec<u64> = fixture.command(&mut list).await?;
        let (kept, previous) = (windows[0], windows[1] - 1);
        ensure!(kept == old, "{windows:?}");
        rename(1, windows[1], previous).await?;
        fixture.append("c").await?;
        let windows: Vec<u64> = fixture.command(&mut list).await?;
        let newest = windows.last().expect("one has just begun");
        let earlier: String =
            fixture.command(redis::cmd("HGET").arg(format!("{key}:{newest}")).arg("earlier")).await?;
        let expected = if is_stored { previous.to_string() } else { format!("{old} {previous}") };
        ensure!(earlier == expected, "stored: {is_stored}, {windows:?} after {earlier:?}");
        // The first message is remembered as long as its window is kept.
        let answers = append_all(&fixture, &["d", "a"].map(|name| first_attempt(&fixture, name))).await;
        let repeated = if is_stored { Ok((5, false)) } else { Ok((1, true)) };
        ensure!(answers == [Ok((4, false)), repeated], "{answers:?}");
    }
    Ok(())
}

#[tokio::test]
async fn refused_messages_of_a_group_cost_one_call_each() -> Result<()> {
    let fixture = LogFixture::new(1).await?;
    fixture.append("0").await?;
    let before = script_calls(&fixture).await?;
    let names: Vec<String> = (1..=40).map(|n| n.to_string()).collect();
    let entries: Vec<Entry<'_>> = names.iter().map(|name| first_attempt(&fixture, name)).collect();
    let answers = append_all(&fixture, &entries).await;
    ensure!(answers == vec![Err(AppendError::Overloaded); 40], "{answers:?}");
    ensure!(script_calls(&fixture).await? - before == 41, "one for all of them, then one for each");
    Ok(())
}

#[tokio::test]
async fn no_message_of_a_group_overtakes_a_look_up() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("0").await?;
    let known = KnownClientId::Stored { seq: Seq(1), id: "old".into(), at_ms: 7 };
    fixture.authority.known.lock().unwrap().insert("known".into(), known);
    let mut entries = ["a", "unknown", "b", "known", "c"].map(|name| first_attempt(&fixture, name));
    (entries[1].first_attempt, entries[3].first_attempt) = (false, false);
    let answers = append_all(&fixture, &entries).await;
    let expected = [Ok((2, false)), Ok((3, false)), Ok((4, false)), Ok((1, true)), Ok((5, false))];
    ensure!(answers == expected, "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn refusals_of_a_group_are_those_of_single_messages() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("0").await?;
    let bob = UserId::parse("bob")?;
    let by_bob = |client_id| Entry { sender: Some(&bob), ..first_attempt(&fixture, client_id) };
    fixture.log.append(&Entry { membership: Some((&bob, "guest")), ..fixture.entry("demote") }).await?;
    let answers =
        append_all(&fixture, &[first_attempt(&fixture, "a"), by_bob("b"), first_attempt(&fixture, "c")])
            .await;
    ensure!(answers == [Ok((3, false)), Err(AppendError::RoleTooLow), Ok((4, false))], "{answers:?}");
    fixture.log.append(&Entry { membership: Some((&bob, "removed")), ..fixture.entry("remove") }).await?;
    let answers = append_all(&fixture, &[by_bob("d"), first_attempt(&fixture, "e")]).await;
    ensure!(answers == [Err(AppendError::Revoked), Ok((6, false))], "{answers:?}");
    // Only the block of appends stops carol, because she has no membership mark.
    let carol = UserId::parse("carol")?;
    let by_carol = |client_id| Entry { sender: Some(&carol), ..first_attempt(&fixture, client_id) };
    fixture.log.block_appends(&carol).await?;
    let answers = append_all(&fixture, &[first_attempt(&fixture, "f"), by_carol("g"), by_carol("h")]).await;
    let revoked = || Err(AppendError::Revoked);
    ensure!(answers == [Ok((7, false)), revoked(), revoked()], "{answers:?}");
    fixture.command::<()>(redis::cmd("HSET").arg(keys::room(&fixture.room)).arg("archived").arg("1")).await?;
    let answers = append_all(&fixture, &[first_attempt(&fixture, "i"), first_attempt(&fixture, "a")]).await;
    ensure!(answers == [Err(AppendError::Archived), Ok((3, true))], "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn group_that_exceeds_the_backlog_is_accepted_up_to_it() -> Result<()> {
    let fixture = LogFixture::new(3).await?;
    fixture.append("0").await?;
    let answers = append_all(&fixture, &["a", "b", "c", "d"].map(|name| first_attempt(&fixture, name))).await;
    let full = || Err(AppendError::Overloaded);
    ensure!(answers == [Ok((2, false)), Ok((3, false)), full(), full()], "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn rooms_share_calls_without_mixing() -> Result<()> {
    let fixture = LogFixture::new(100_000).await?;
    let same = |room: &RoomId| keys::Partition::of(room) == fixture.partition();
    let named = || (0..).filter_map(|n| RoomId::parse(&format!("r{n}")).ok());
    // Three rooms of one partition, and some of others.
    let rooms: Vec<RoomId> =
        named().filter(same).take(3).chain(named().filter(|room| !same(room)).take(3)).collect();
    let before = script_calls(&fixture).await?;
    let batcher = fixture.log.new_batcher();
    let mut senders = Vec::new();
    for room in rooms.iter().chain(&rooms) {
        let (log, batcher, room) = (fixture.log.clone(), Arc::clone(&batcher), room.clone());
        let (alice, sender) = (fixture.alice.clone(), senders.len());
        senders.push(tokio::spawn(async move {
            let mut seqs = Vec::new();
            for round in 0..30 {
                let names: Vec<String> = (0..4).map(|n| format!("{sender}-{round}-{n}")).collect();
                let entry = |name: &String| Entry {
                    sender: Some(&alice),
                    client_id: tidings_shared::ids::ClientId::parse(name).ok(),
                    first_attempt: true,
                    is_change: false,
                    ..Entry::new(&room, "message:new", format!(r#"{{"client_id":"{name}"}}"#))
                };
                let entries: Vec<Entry<'_>> = names.iter().map(entry).collect();
                let mut answers = Vec::new();
                log.append_messages(&batcher, &entries, |answer| answers.push(answer)).await;
                for (answer, name) in answers.into_iter().zip(names) {
                    seqs.push((answer.expect("nothing refuses it").seq.0, name));
                }
            }
            (room, seqs)
        }));
    }
    let mut by_room = std::collections::BTreeMap::<RoomId, Vec<(u64, String)>>::new();
    for sender in senders {
        let (room, seqs) = sender.await?;
        ensure!(seqs.is_sorted(), "a sender's messages of {room} are out of order");
        by_room.entry(room).or_default().extend(seqs);
    }
    let groups = 30 * 2 * by_room.len() as u64;
    let calls = script_calls(&fixture).await? - before;
    ensure!(calls < groups / 2, "{calls} calls for {groups} groups");
    for (room, mut seqs) in by_room {
        seqs.sort();
        let read = fixture.log.read(&room, Some(Seq(0)), Epoch(0), None, &[]).await?;
        ensure!(seqs.iter().map(|(seq, _)| *seq).eq(1..=240), "{room} is not dense");
        for record in &read.records {
            let (_, name) = &seqs[usize::try_from(record.seq.0)? - 1];
            ensure!(record.client_id() == name && record.room() == room.as_str(), "{record:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn tail_of_grouped_messages_is_bounded_and_keeps_the_newest() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("0").await?;
    let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(2000));
    for round in 0..4 {
        let names: Vec<String> = (0..60).map(|n| format!("{round}-{n}")).collect();
        let long = |name: &String| Entry { body: body.clone(), ..first_attempt(&fixture, name) };
        let answers = append_all(&fixture, &names.iter().map(long).collect::<Vec<_>>()).await;
        ensure!(answers.iter().all(Result::is_ok), "{answers:?}");
        let read = fixture.log.read(&fixture.room, Some(Seq(0)), Epoch(0), None, &[]).await?;
        let bytes: usize = read.records.iter().map(|record| record.raw().len()).sum();
        ensure!((45_000..=65_536).contains(&bytes), "{bytes} bytes");
        ensure!(read.records.last().is_some_and(|record| record.client_id() == names[59]));
    }
    Ok(())
}
