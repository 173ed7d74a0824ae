//! `GET /feed`: every stored event of every room, in the order of its room, at least once, whatever happens to
//! persistence; only for tokens with the scope.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::feed::{FeedConsumer, read_page};
use tidings_harness::stack::set_feed;
use tidings_harness::{Http, Stack, Token, node};
use tidings_shared::limits::MAX_PAGE_BYTES;

async fn start_stack(persistence: usize) -> Result<Stack> {
    let stack = Stack::builder().gateways(0).persistence(persistence).start().await?;
    set_feed(stack.database().url(), true).await?;
    Ok(stack)
}

fn consumer_at(stack: &Stack, persistence: usize) -> Http {
    let token = Token::of("indexer").scope("tidings.feed").sign(stack.jwt_secret());
    stack.http_at(persistence, "indexer").with_token(&token)
}

/// Sends `count` messages to each of `rooms` new rooms.
async fn fill_rooms(stack: &Stack, rooms: usize, count: usize) -> Result<Vec<String>> {
    let alice = stack.http("alice");
    let mut ids = Vec::new();
    for _ in 0..rooms {
        let room = alice.new_room(&["bob"]).await?;
        for number in 0..count {
            alice.send(&room, &format!("c{number}"), "hello").await?.expect(201);
        }
        ids.push(room);
    }
    Ok(ids)
}

/// The heads of all rooms.
async fn heads(stack: &Stack) -> Result<BTreeMap<String, u64>> {
    let rows = stack.database().query("SELECT id, head_seq FROM rooms WHERE head_seq > 0").await?;
    rows.into_iter().map(|row| Ok((row[0].clone(), row[1].parse()?))).collect()
}

/// Fails unless the consumers together got each event of each room, and each in order.
async fn ensure_complete(stack: &Stack, consumers: &[&FeedConsumer]) -> Result<()> {
    for consumer in consumers {
        ensure!(consumer.misplaced.is_empty(), "{:?}", consumer.misplaced);
    }
    let mut got = BTreeMap::new();
    for (room, log) in consumers.iter().flat_map(|consumer| &consumer.rooms) {
        ensure!(got.insert(room.clone(), log.len() as u64).is_none(), "two consumers read {room}");
    }
    let stored = heads(stack).await?;
    ensure!(!stored.is_empty() && got == stored, "got {got:?} of {stored:?}");
    Ok(())
}

// Covers: GET /feed.
#[tokio::test]
async fn enabled_feed_returns_earlier_and_later_events() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let rooms = fill_rooms(&stack, 3, 5).await?;
    let feed = consumer_at(&stack, 0);
    feed.get("/feed").await?.expect(404);
    set_feed(stack.database().url(), true).await?;
    let mut consumer = FeedConsumer::from_start("limit=4");
    consumer.read_all(&feed).await?;
    ensure_complete(&stack, &[&consumer]).await?;

    stack.http("alice").send(&rooms[0], "late", "hello").await?.expect(201);
    fill_rooms(&stack, 2, 3).await?;
    consumer.read_all(&feed).await?;
    ensure_complete(&stack, &[&consumer]).await?;
    for room in &rooms {
        let page = stack.http("alice").events(room, "after=0").await?.expect(200).body;
        let log: Vec<&Value> = consumer.rooms[room].values().collect();
        assert_eq!(page["events"].as_array().map(|events| events.iter().collect()), Some(log));
    }

    set_feed(stack.database().url(), false).await?;
    feed.get("/feed").await?.expect(404);
    Ok(())
}

/// The clock of PostgreSQL was an hour ahead while the feed was on for the first time.
#[tokio::test]
async fn old_cursor_misses_nothing_after_off_and_on() -> Result<()> {
    let stack = start_stack(1).await?;
    let (feed, rooms) = (consumer_at(&stack, 0), fill_rooms(&stack, 1, 2).await?);
    stack.database().query("UPDATE feed SET position = position + 3600000000").await?;
    let mut consumer = FeedConsumer::from_start("limit=1000");
    consumer.read_all(&feed).await?;
    set_feed(stack.database().url(), false).await?;
    stack.http("alice").send(&rooms[0], "meanwhile", "hello").await?.expect(201);
    set_feed(stack.database().url(), true).await?;
    stack.http("alice").send(&rooms[0], "after", "hello").await?.expect(201);
    consumer.read_all(&feed).await?;
    ensure_complete(&stack, &[&consumer]).await
}

#[tokio::test]
async fn feed_is_complete_when_persistence_is_killed() -> Result<()> {
    let stack = start_stack(2).await?;
    let rooms = fill_rooms(&stack, 8, 1).await?;
    let mut sent = rooms.len();
    let (low, high) = ("partitions=0-31", "partitions=32-63");
    let mut consumers = [FeedConsumer::from_start(low), FeedConsumer::from_start(high)];
    for round in 0..3_usize {
        let (killed, left) = (round % 2, (round + 1) % 2);
        stack.persistence(killed).kill();
        let sender = stack.http_at(left, "alice");
        for number in 0..20 {
            let room = &rooms[number % rooms.len()];
            // A killed node still owns its partitions for a while, so the send may not be stored yet.
            let answer = sender.send(room, &format!("r{round}-{number}"), "hello").await?;
            sent += usize::from(answer.status == 201);
        }
        for consumer in &mut consumers {
            consumer.read(&consumer_at(&stack, left), 0, round == 1).await?;
        }
        stack.persistence(killed).restart().await?;
    }
    // The partitions of killed nodes are stored again when their leases have expired.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        for consumer in &mut consumers {
            consumer.read_all(&consumer_at(&stack, 1)).await?;
        }
        let checked = ensure_complete(&stack, &[&consumers[0], &consumers[1]]).await;
        let messages: usize =
            consumers.iter().flat_map(|consumer| consumer.rooms.values()).map(BTreeMap::len).sum();
        if (checked.is_ok() && messages >= sent) || Instant::now() > deadline {
            ensure!(messages >= sent, "the feed has {messages} events of at least {sent}");
            return checked;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn waiting_request_returns_with_the_next_event() -> Result<()> {
    let stack = start_stack(1).await?;
    let (feed, room) = (consumer_at(&stack, 0), fill_rooms(&stack, 1, 1).await?.remove(0));
    let now = read_page(&feed, "").await?;
    ensure!(now.entries.is_empty() && !now.more && now.lag_ms == 0, "{now:?}");
    let query = format!("cursor={}&wait_ms=10000", now.cursor);
    let asked = Instant::now();
    let alice = stack.http("alice");
    let (page, sent) = tokio::join!(read_page(&feed, &query), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        alice.send(&room, "next", "hello").await
    });
    sent?.expect(201);
    ensure!(page?.entries.len() == 1 && asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    Ok(())
}

#[tokio::test]
async fn feed_needs_its_scope_and_filters_events() -> Result<()> {
    let stack = start_stack(1).await?;
    let (feed, rooms) = (consumer_at(&stack, 0), fill_rooms(&stack, 2, 2).await?);
    stack.http("alice").get("/feed?cursor=start").await?.expect(403);
    let admin = stack.http("root").with_token(&stack.admin_token("root"));
    admin.get("/feed?cursor=start").await?.expect(403);
    feed.get("/feed?cursor=bad").await?.expect(400);
    let room = format!("/rooms/{}", rooms[0]);
    feed.get(&room).await?.expect(404);

    let page = read_page(&feed, &format!("cursor=start&room={}&type=message:new", rooms[0])).await?;
    let wanted =
        |entry: &Value| entry["event"]["room"] == rooms[0] && entry["event"]["type"] == "message:new";
    ensure!(page.entries.len() == 2 && page.entries.iter().all(wanted), "{page:?}");
    let lost = read_page(&feed, &format!("cursor={}", page.cursor)).await?;
    ensure!(lost.entries.is_empty(), "{lost:?}");
    Ok(())
}

#[tokio::test]
async fn feed_page_of_long_messages_ends_at_its_bytes() -> Result<()> {
    let stack = Stack::builder().gateways(0).env("TIDINGS_MAX_MESSAGE_CHARS", 4_000).start().await?;
    set_feed(stack.database().url(), true).await?;
    let (feed, alice) = (consumer_at(&stack, 0), stack.http("alice").with_token(&stack.admin_token("alice")));
    for _ in 0..2 {
        let room = alice.new_room(&["bob"]).await?;
        for number in 0..60 {
            alice.send(&room, &format!("c{number}"), &"🙂".repeat(4_000)).await?.expect(201);
        }
    }
    let (mut cursor, mut pages) = ("start".to_owned(), 0);
    loop {
        let page = feed.get(&format!("/feed?cursor={cursor}&limit=1000")).await?.expect(200).body;
        let bytes = page.to_string().len();
        ensure!(bytes <= MAX_PAGE_BYTES + 16 * 1024, "{bytes} bytes");
        pages += usize::from(page["entries"].as_array().is_some_and(|entries| !entries.is_empty()));
        cursor = page["cursor"].as_str().unwrap_or_default().to_owned();
        if page["more"] != true {
            break;
        }
    }
    ensure!(pages == 2, "{pages} pages");
    let mut consumer = FeedConsumer::from_start("limit=1000");
    consumer.read_all(&feed).await?;
    ensure_complete(&stack, &[&consumer]).await
}

#[tokio::test]
async fn removed_contents_are_blank_and_old_cursor_stays_valid() -> Result<()> {
    let stack = start_stack(1).await?;
    let (feed, rooms) = (consumer_at(&stack, 0), fill_rooms(&stack, 2, 4).await?);
    let old = read_page(&feed, "cursor=start&limit=3").await?;
    stack.http("alice").send(&rooms[0], "gone", "secret words").await?.expect(201);
    stack.database().query("UPDATE feed SET position = position - 200 * 86400000000").await?;
    stack.database().query("UPDATE messages SET at = at - interval '200 days'").await?;
    // More rows than one statement merges.
    let add_rows = "INSERT INTO feed (partition, position, room_id, after_seq, upto_seq) \
        SELECT f.partition, f.position - n, f.room_id, f.after_seq, f.after_seq \
        FROM (SELECT * FROM feed ORDER BY position LIMIT 1) f, generate_series(1, 120000) n";
    stack.database().query(add_rows).await?;
    let mut retain = tokio::process::Command::new(node::program("tidings-persistence")?);
    retain.args(["retain", "--older-than", "180d", "--drop"]);
    retain.args(["--database-url", stack.database().url(), "--redis-url", &stack.redis().url()]);
    let output = retain.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = stack
        .database()
        .query(
            "SELECT room_id FROM feed WHERE after_seq = 0 AND position < \
        extract(epoch FROM now() - interval '180 days') * 1000000",
        )
        .await?;
    ensure!(rows.len() == rooms.len(), "old rows were not merged: {rows:?}");

    let mut consumer = FeedConsumer::from_start("limit=3");
    consumer.read_all(&feed).await?;
    ensure_complete(&stack, &[&consumer]).await?;
    ensure!(!json!(consumer.rooms).to_string().contains("secret words"), "{:?}", consumer.rooms);
    let again = read_page(&feed, &format!("cursor={}&limit=1000", old.cursor)).await?;
    ensure!(again.entries.iter().all(|entry| entry.get("gap").is_none()), "{again:?}");
    Ok(())
}
