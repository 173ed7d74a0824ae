//! Client ids that Redis does not remember, on a real Redis: which ones are new, and which ones are looked up in
//! PostgreSQL. The tests rename windows to simulate jumps of the clock of Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidings_harness::clock;
use tidings_shared::{
    ids::UserId,
    log::{Accepted, Entry, KnownClientId},
};

use crate::log_many::{command_calls, first_attempt, script_calls};
use crate::log_world::LogFixture;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// The key of the newest window of client ids, and the number of this window.
async fn newest_window(fixture: &LogFixture) -> Result<(String, u64)> {
    let list = fixture.partition().sent();
    let number: u64 = fixture.command(redis::cmd("LINDEX").arg(&list).arg(-1)).await?;
    Ok((format!("{list}:{number}"), number))
}

/// Gives the window at this index of the list another number.
async fn renumber_window(fixture: &LogFixture, index: i64, from: u64, to: u64) -> Result<()> {
    let list = fixture.partition().sent();
    let (from, renamed) = (format!("{list}:{from}"), format!("{list}:{to}"));
    fixture.command::<()>(redis::cmd("RENAME").arg(from).arg(renamed)).await?;
    fixture.command::<()>(redis::cmd("LSET").arg(&list).arg(index).arg(to)).await
}

/// Renumbers the newest window, as if this number of windows had passed since it began.
async fn age_newest_window(fixture: &LogFixture, by: u64) -> Result<()> {
    let (_, number) = newest_window(fixture).await?;
    renumber_window(fixture, -1, number, number - by).await
}

/// Makes client ids from this time on new, unless a window contains them.
async fn trust_from(fixture: &LogFixture, since_1970: Duration) -> Result<()> {
    let epoch = fixture.log.session_of(&fixture.room).await?.epoch;
    let new_from = format!("{epoch} {}", since_1970.as_millis());
    let (key, _) = newest_window(fixture).await?;
    fixture.command::<usize>(redis::cmd("HSET").arg(key).arg("new_from").arg(new_from)).await?;
    Ok(())
}

/// A log whose first window has begun, and that trusts client ids from this time on.
async fn start_trusting_from(since_1970: Duration) -> Result<LogFixture> {
    let fixture = LogFixture::new(1000).await?;
    fixture.log.append(&first_attempt(&fixture, "0")).await?;
    trust_from(&fixture, since_1970).await?;
    Ok(fixture)
}

/// Begins two windows. So the first one is dropped if its records are stored.
async fn begin_two_windows(fixture: &LogFixture) -> Result<()> {
    for (name, age) in [("1", 3), ("2", 1)] {
        age_newest_window(fixture, age).await?;
        fixture.log.append(&first_attempt(fixture, name)).await?;
    }
    Ok(())
}

fn look_ups(fixture: &LogFixture) -> usize {
    *fixture.authority.look_ups.lock().unwrap()
}

/// Stores the events up to this one, and lets PostgreSQL know its client id.
async fn store(fixture: &LogFixture, client_id: &str, accepted: &Accepted) -> Result<()> {
    let session = fixture.log.session_of(&fixture.room).await?;
    let upto = accepted.ingest.context("a new event has an ingest id")?;
    ensure!(fixture.publish_stored(&session, upto, Vec::new()).await?);
    let known = KnownClientId::Stored { seq: accepted.seq, id: accepted.id.clone(), at_ms: accepted.at_ms };
    fixture.authority.known.lock().unwrap().insert(client_id.to_owned(), known);
    Ok(())
}

#[tokio::test]
async fn new_uuid_v7_needs_no_look_up() -> Result<()> {
    let fixture = start_trusting_from(clock::now() - MINUTE).await?;
    let before = script_calls(&fixture).await?;
    let id = clock::client_id();
    let first = fixture.append(&id).await?;
    ensure!(!first.duplicate && script_calls(&fixture).await? - before == 1, "{first:?}");
    let again = fixture.append(&id).await?;
    ensure!(again.duplicate && again.seq == first.seq, "{again:?}");
    ensure!(look_ups(&fixture) == 0);
    Ok(())
}

/// The newest window names the windows before it, also for events that `append.lua` appends.
#[tokio::test]
async fn usual_append_reads_no_list_of_windows() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("begins a window").await?;
    let before = command_calls(&fixture, "lrange").await?;
    let change = Entry { is_change: true, ..fixture.entry("change") };
    fixture.log.append(&change).await?;
    ensure!(fixture.log.append(&change).await?.duplicate);
    fixture.append("looked up").await?;
    fixture.log.append(&Entry { client_id: None, ..fixture.entry("none") }).await?;
    let calls = command_calls(&fixture, "lrange").await? - before;
    ensure!(
        look_ups(&fixture) == 2 && calls == 0,
        "{calls} reads of the list, {} look-ups",
        look_ups(&fixture)
    );
    Ok(())
}

#[tokio::test]
async fn client_id_outside_the_trusted_time_is_looked_up() -> Result<()> {
    let fixture = start_trusting_from(clock::now() - MINUTE).await?;
    let outside = [
        clock::client_id_at(clock::now() - 2 * MINUTE),
        "c232ab00-9414-4cec-b3c8-9f6bdeced846".to_owned(),
        "any text".to_owned(),
        clock::client_id_at(clock::now() + 2 * MINUTE),
    ];
    for (count, id) in (1..).zip(outside) {
        fixture.append(&id).await?;
        ensure!(look_ups(&fixture) == count, "{id}: {} look-ups", look_ups(&fixture));
    }
    Ok(())
}

/// A client id was ahead of Redis. When Redis shows its time, its window may have been dropped.
#[tokio::test]
async fn sender_ahead_of_redis_is_looked_up_until_that_time() -> Result<()> {
    let fixture = start_trusting_from(clock::now() - MINUTE).await?;
    let ahead = clock::client_id_at(clock::now() + 15 * MINUTE);
    fixture.log.append(&first_attempt(&fixture, &ahead)).await?;
    ensure!(look_ups(&fixture) == 0, "a first attempt");
    let bob = UserId::parse("bob")?;
    let by_bob = clock::client_id();
    fixture.log.append(&Entry { sender: Some(&bob), ..fixture.entry(&by_bob) }).await?;
    ensure!(look_ups(&fixture) == 0, "bob's clock is right");
    fixture.append(&clock::client_id()).await?;
    ensure!(look_ups(&fixture) == 1, "the other client ids of alice are not certain either");
    // A window begins that trusts only client ids after this time.
    trust_from(&fixture, clock::now() + 16 * MINUTE).await?;
    age_newest_window(&fixture, 1).await?;
    fixture.append("begins a window").await?;
    let key = format!("{}:ahead", fixture.partition().sent());
    ensure!(!fixture.command::<bool>(redis::cmd("EXISTS").arg(key)).await?, "alice is remembered for ever");
    Ok(())
}

#[tokio::test]
async fn client_id_of_a_dropped_window_is_looked_up() -> Result<()> {
    let fixture = start_trusting_from(Duration::ZERO).await?;
    // The clock of Redis is 30 minutes ahead of the client's.
    let id = clock::client_id_at(clock::now() - 30 * MINUTE);
    let first = fixture.append(&id).await?;
    store(&fixture, &id, &first).await?;
    ensure!(look_ups(&fixture) == 0);
    begin_two_windows(&fixture).await?;
    let again = fixture.append(&id).await?;
    ensure!(again.duplicate && again.seq == first.seq && look_ups(&fixture) == 1, "{again:?}");
    // Newer client ids need no look-up.
    fixture.append(&clock::client_id()).await?;
    ensure!(look_ups(&fixture) == 1);
    Ok(())
}

/// A dropped window would forget the client id of a change, which only Redis remembers.
#[tokio::test]
async fn jump_of_the_clock_drops_no_window() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let first = fixture.append("a").await?;
    store(&fixture, "a", &first).await?;
    age_newest_window(&fixture, 6).await?;
    fixture.append("b").await?;
    let again = fixture.log.append(&first_attempt(&fixture, "a")).await?;
    ensure!(again.duplicate && again.seq == first.seq, "{again:?}");
    Ok(())
}

#[tokio::test]
async fn clock_set_back_by_hours_keeps_two_windows() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let first = fixture.append("a").await?;
    store(&fixture, "a", &first).await?;
    // The window began before the clock was set back by six hours.
    let (_, number) = newest_window(&fixture).await?;
    renumber_window(&fixture, -1, number, number + 36).await?;
    for client_id in ["b", "c", "d"] {
        let accepted = fixture.append(client_id).await?;
        store(&fixture, client_id, &accepted).await?;
        age_newest_window(&fixture, 2).await?;
    }
    let list = fixture.partition().sent();
    let kept: Vec<u64> = fixture.command(redis::cmd("LRANGE").arg(&list).arg(0).arg(-1)).await?;
    let oldest = format!("{list}:{}", number + 36);
    let is_kept: bool = fixture.command(redis::cmd("EXISTS").arg(oldest)).await?;
    ensure!(kept.len() == 2 && !is_kept, "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn window_of_an_earlier_version_is_not_trusted() -> Result<()> {
    let fixture = start_trusting_from(Duration::ZERO).await?;
    let (key, number) = newest_window(&fixture).await?;
    fixture.command::<usize>(redis::cmd("HDEL").arg(&key).arg("new_from")).await?;
    fixture.append(&clock::client_id()).await?;
    ensure!(look_ups(&fixture) == 1);
    let (key, _) = newest_window(&fixture).await?;
    let new_from: String = fixture.command(redis::cmd("HGET").arg(key).arg("new_from")).await?;
    let ms: u64 = new_from.split_once(' ').context("no epoch and time")?.1.parse()?;
    ensure!(ms > (number + 1) * 600_000, "{new_from}");
    Ok(())
}

#[tokio::test]
async fn look_up_that_took_too_long_is_repeated() -> Result<()> {
    let fixture = Arc::new(LogFixture::new(1000).await?);
    fixture.log.append(&first_attempt(&fixture, "0")).await?;
    let (_, number) = newest_window(&fixture).await?;
    let gate = fixture.authority.look_up_gate.lock().await;
    let late = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.append("x").await }
    });
    let begun = Instant::now();
    while look_ups(&fixture) == 0 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "nothing is looked up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Meanwhile the message arrives at another gateway, is stored, and Redis drops its window.
    let first = fixture.log.append(&first_attempt(&fixture, "x")).await?;
    store(&fixture, "x", &first).await?;
    begin_two_windows(&fixture).await?;
    // After the clock was set back, the oldest window may have the number of the dropped one.
    age_newest_window(&fixture, 5).await?;
    let mut read_oldest = redis::cmd("LINDEX");
    let oldest: u64 = fixture.command(read_oldest.arg(fixture.partition().sent()).arg(0)).await?;
    renumber_window(&fixture, 0, oldest, number).await?;
    drop(gate);
    let again = late.await??;
    ensure!(again.duplicate && again.seq == first.seq && look_ups(&fixture) == 2, "{again:?}");
    Ok(())
}

/// Clients with right and wrong clocks send and repeat messages, while the clock of Redis jumps and PostgreSQL stores
/// what waits.
#[tokio::test]
async fn wrong_clocks_let_no_message_through_twice() -> Result<()> {
    const STEPS: usize = 800;
    /// How far the clocks of the senders are ahead, in seconds.
    const OFFSETS_S: [i64; 6] = [0, 0, 30, -300, 900, 3600];
    const PASSING_S: [i64; 5] = [1, 20, 120, 300, 600];
    const JUMPS_S: [i64; 6] = [0, 1300, 3600, -3600, -500, 86_400];
    let fixture = LogFixture::with_clock().await?;
    let redis_clock = fixture.redis.single().context("one Redis")?.clock();
    let began_s = i64::try_from(clock::now().as_secs())?;
    let mut rng = StdRng::seed_from_u64(38);
    let (mut passed_s, mut jump_s) = (0, 0);
    let mut sent: Vec<(usize, String)> = Vec::new();
    let (mut first_answers, mut last) = (HashMap::<String, Accepted>::new(), None);
    for step in 0..STEPS {
        match rng.random_range(0..20) {
            0..=4 => passed_s += PASSING_S[rng.random_range(0..PASSING_S.len())],
            5 => jump_s = JUMPS_S[rng.random_range(0..JUMPS_S.len())],
            6..=9 => {
                if let Some(upto) = last.take() {
                    let session = fixture.log.session_of(&fixture.room).await?;
                    ensure!(fixture.publish_stored(&session, upto, Vec::new()).await?);
                    let stored = first_answers.iter().map(|(id, first)| {
                        let (seq, id_of_first, at_ms) = (first.seq, first.id.clone(), first.at_ms);
                        (id.clone(), KnownClientId::Stored { seq, id: id_of_first, at_ms })
                    });
                    fixture.authority.known.lock().unwrap().extend(stored);
                }
            }
            _ => {}
        }
        redis_clock.shift(passed_s + jump_s)?;
        let is_first = sent.is_empty() || rng.random();
        if is_first {
            let sender = rng.random_range(0..OFFSETS_S.len());
            let now_s = u64::try_from(began_s + passed_s + OFFSETS_S[sender])?;
            sent.push((sender, clock::client_id_at(Duration::from_secs(now_s))));
        }
        let age = if is_first { 0 } else { rng.random_range(0..sent.len().min(12)) };
        let (sender, id) = &sent[sent.len() - 1 - age];
        let user = UserId::parse(&format!("user{sender}"))?;
        let first_attempt = is_first && rng.random_ratio(1, 3);
        let entry = Entry { sender: Some(&user), first_attempt, ..fixture.entry(id) };
        let answer = fixture.log.append(&entry).await?;
        match first_answers.get(id) {
            Some(first) => ensure!(
                answer.duplicate && answer.seq == first.seq,
                "step {step}: {id} of {user} is appended again, Redis is off by {jump_s} s: {answer:?}"
            ),
            None => {
                ensure!(!answer.duplicate, "step {step}: {answer:?}");
                last = answer.ingest;
                first_answers.insert(id.clone(), answer);
            }
        }
    }
    ensure!(first_answers.len() > STEPS / 3, "{} messages", first_answers.len());
    ensure!(look_ups(&fixture) < STEPS * 4 / 5, "{} look-ups", look_ups(&fixture));
    Ok(())
}
