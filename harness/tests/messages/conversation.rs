//! Users talk through two gateways: joins, order, answers, duplicates, replay, leaving.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Cursor, ServerFrame, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn start_two_gateways() -> Result<Stack> {
    let stack = Stack::builder().gateways(2);
    stack
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await
}

async fn next_message(client: &Client) -> Result<(u64, String, String)> {
    match client.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Message(message) => Ok((message.seq, message.sender.id, message.content)),
        other => anyhow::bail!("expected a message, got {other:?}"),
    }
}

// Covers: message:new, message:send, ack.
#[tokio::test]
async fn messages_cross_gateways_in_order() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    let caught_up = bob.join_and_catch_up(&room).await?;
    ensure!(caught_up.seq == 0, "{caught_up:?}");
    alice.join_and_catch_up(&room).await?;
    for n in 1..=30_u64 {
        let (who, other) = if n % 2 == 0 { (&alice, "alice") } else { (&bob, "bob") };
        let ack = who.send(&room, &format!("<b>{n}</b>\n🙂")).await?;
        ensure!((ack.seq, ack.stage.as_str(), ack.duplicate) == (n, "stored", false), "{ack:?}");
        for listener in [&alice, &bob] {
            let received = next_message(listener).await?;
            ensure!(received == (n, other.to_owned(), format!("<b>{n}</b>\n🙂")), "{received:?}");
        }
    }
    let page = stack.http("bob").messages(&room, "limit=200").await?.expect(200).body;
    let stored: Vec<_> =
        page["messages"].as_array().into_iter().flatten().map(|m| m["seq"].as_u64()).collect();
    ensure!(stored == (1..=30).map(Some).collect::<Vec<_>>(), "{stored:?}");
    Ok(())
}

// Covers: room:joined.
#[tokio::test]
async fn join_answer_describes_room_and_own_membership() -> Result<()> {
    let stack = Stack::shared().await?;
    let body = json!({"kind": "private", "name": "Tea", "members": [{"user": "bob", "role": "guest"}, {"user": "carol"}]});
    let room = stack.http("alice").post("/rooms", body).await?.expect(201).body;
    let room = room["room"].as_str().unwrap_or_default();
    let alice = stack.connect("alice").await?;
    for n in 0..3 {
        alice.send(room, &n.to_string()).await?;
    }
    let bob = stack.connect_at(1, "bob").await?;
    let joined = bob.join(room).await?;
    ensure!(
        (joined.kind.as_str(), joined.name.as_deref(), joined.role.as_str())
            == ("private", Some("Tea"), "guest")
    );
    ensure!((joined.members, joined.head.seq, joined.read_seq) == (3, 3, 0), "{joined:?}");
    bob.read(room, 2).await?;
    ensure!(bob.join(room).await?.read_seq == 2);
    let error = bob.send(room, "I only read").await.err();
    ensure!(error.as_ref().is_some_and(|error| error.code() == "forbidden"), "{error:?}");
    Ok(())
}

// Covers: room:join, room:joined.
#[tokio::test]
async fn bulk_join_joins_own_rooms_and_reports_failures() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut mine = Vec::new();
    for _ in 0..5 {
        mine.push(stack.http("alice").new_room(&["bob"]).await?);
    }
    let foreign = stack.http("mallory").new_room(&["eve"]).await?;
    let alice = stack.connect("alice").await?;
    let joined = alice.join_many(&[&mine[0], &foreign, &mine[1], "no-such-room"]).await?;
    ensure!(joined.rooms.iter().map(|room| &room.room).eq([&mine[0], &mine[1]]), "{joined:?}");
    let mut failed: Vec<_> =
        joined.failed.iter().map(|room| (room.room.as_str(), room.code.as_str())).collect();
    failed.sort_unstable();
    let mut expected = vec![(foreign.as_str(), "not_found"), ("no-such-room", "not_found")];
    expected.sort_unstable();
    ensure!(failed == expected, "{failed:?}");

    let all = alice.join_mine().await?;
    let mut rooms: Vec<_> = all.rooms.iter().map(|room| room.room.clone()).collect();
    rooms.sort_unstable();
    mine.sort_unstable();
    ensure!(rooms == mine && !all.more, "{all:?}");
    // A room that is created after the connect can be joined too.
    let later = stack.http("bob").new_room(&["alice"]).await?;
    ensure!(alice.join(&later).await?.role == "member");
    stack.http("bob").send(&later, "hello", "hello").await?.expect(201);
    loop {
        // The `room:caught_up` frames of the other rooms may arrive first.
        match alice.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::CaughtUp(_) => {}
            ServerFrame::Message(message) => {
                ensure!((message.room.as_str(), message.content.as_str()) == (later.as_str(), "hello"));
                break;
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn client_id_is_one_message_across_gateways_and_redis_loss() -> Result<()> {
    let stack = start_two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect_at(0, "alice").await?;
    let first = alice.send_as(&room, "the-id", "once").await?;
    ensure!(!first.duplicate);
    let again = alice.send_as(&room, "the-id", "other content").await?;
    let other_gateway = stack.connect_at(1, "alice").await?;
    let through_other = other_gateway.send_as(&room, "the-id", "once").await?;
    for repeated in [&again, &through_other] {
        ensure!(repeated.duplicate, "{repeated:?}");
        ensure!(
            (repeated.seq, &repeated.id, &repeated.at) == (first.seq, &first.id, &first.at),
            "{repeated:?}"
        );
    }
    // Redis has lost everything; PostgreSQL still knows the client id.
    stack.shards().restart_empty().await?;
    let mut repeated = None;
    for _ in 0..60 {
        match other_gateway.send_as(&room, "the-id", "once").await {
            Ok(ack) => {
                repeated = Some(ack);
                break;
            }
            Err(ClientError::Answered(error)) if error.code == "unavailable" => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let repeated = repeated.ok_or_else(|| anyhow::anyhow!("the send stayed unavailable"))?;
    ensure!(repeated.duplicate && repeated.seq == first.seq && repeated.id == first.id, "{repeated:?}");
    let page = stack.http("alice").messages(&room, "").await?.expect(200).body;
    ensure!(page["messages"].as_array().map(Vec::len) == Some(1), "{page}");
    Ok(())
}

// Covers: ack.
#[tokio::test]
async fn accepted_ack_does_not_wait_for_storage() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    bob.join_and_catch_up(&room).await?;
    alice.send(&room, "warm").await?;
    next_message(&bob).await?;
    stack.persistence(0).pause()?;
    let fields = json!({"type": "message:send", "room": room, "client_id": "a", "content": "now", "ack": "accepted", "attempt": 1});
    let ack = alice.send_with(fields).await;
    let received = next_message(&bob).await;
    stack.persistence(0).resume()?;
    ensure!(ack?.stage == "accepted");
    ensure!(received?.2 == "now", "live delivery must work while nothing is stored");
    let stored = alice.send_as(&room, "a", "now").await?;
    ensure!(stored.duplicate && stored.stage == "stored" && stored.seq == 2, "{stored:?}");
    Ok(())
}

// Covers: room:caught_up, room:join.
#[tokio::test]
async fn cursor_join_replays_in_order_then_catches_up_then_goes_live() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect_at(0, "alice").await?;
    let mut epoch = String::new();
    for n in 1..=40 {
        epoch = alice.send(&room, &n.to_string()).await?.epoch;
    }
    let bob = stack.connect_at(1, "bob").await?;
    bob.join_after(&room, &Cursor { epoch, seq: 15 }).await?;
    for n in 16..=40 {
        let received = next_message(&bob).await?;
        ensure!(received == (n, "alice".to_owned(), n.to_string()), "{received:?}");
    }
    match bob.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::CaughtUp(caught_up) => ensure!(caught_up.seq == 40, "{caught_up:?}"),
        other => anyhow::bail!("{other:?}"),
    }
    alice.send(&room, "41").await?;
    ensure!(next_message(&bob).await?.0 == 41);
    Ok(())
}

// Covers: room:gap, GET /rooms/{room}/events.
#[tokio::test]
async fn replay_beyond_tail_is_gap_readable_over_http() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let mut epoch = String::new();
    for n in 1..=300 {
        epoch = alice.send(&room, &n.to_string()).await?.epoch;
    }
    let bob = stack.connect_at(1, "bob").await?;
    bob.join_after(&room, &Cursor { epoch, seq: 3 }).await?;
    let ServerFrame::Gap(gap) = bob.next_of_log(WAIT_TIMEOUT).await? else { anyhow::bail!("expected a gap") };
    ensure!((gap.after, gap.head.seq) == (3, 300), "{gap:?}");
    alice.send(&room, "301").await?;
    ensure!(next_message(&bob).await?.0 == 301, "live delivery must continue above the gap's head");
    let query = format!("after=3&upto=300&limit=200&epoch={}", gap.head.epoch);
    let page = stack.http("bob").events(&room, &query).await?.expect(200).body;
    ensure!(
        page["events"].as_array().map(Vec::len) == Some(200) && page["next"]["seq"] == 203,
        "{}",
        page["next"]
    );
    Ok(())
}

// Covers: room:gap.
#[tokio::test]
async fn unknown_epoch_or_cursor_above_head_is_gap() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let epoch = alice.send(&room, "1").await?.epoch;
    let cases = [("nonsense".to_owned(), 1, 0), ("999".to_owned(), 1, 0), (epoch, 77, 1)];
    for (epoch, seq, after) in cases {
        let bob = stack.connect("bob").await?;
        bob.join_after(&room, &Cursor { epoch: epoch.clone(), seq }).await?;
        match bob.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Gap(gap) => ensure!((gap.after, gap.head.seq) == (after, 1), "{epoch}: {gap:?}"),
            other => anyhow::bail!("{epoch}: {other:?}"),
        }
    }
    Ok(())
}

// Covers: room:leave, room:left.
#[tokio::test]
async fn left_room_is_silent_and_can_be_rejoined() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    let caught_up = bob.join_and_catch_up(&room).await?;
    ensure!(bob.leave(&room).await? == json!([room]));
    alice.send(&room, "missed").await?;
    bob.ping().await?;
    ensure!(matches!(bob.next_of_log(Duration::from_millis(300)).await, Err(ClientError::Silent(_))));
    bob.join_after(&room, &Cursor { epoch: caught_up.epoch, seq: 0 }).await?;
    ensure!(next_message(&bob).await?.2 == "missed");
    Ok(())
}

#[tokio::test]
async fn private_message_reaches_only_recipients_live_and_replayed() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let (alice, bob, carol) = (
        stack.connect("alice").await?,
        stack.connect_at(1, "bob").await?,
        stack.connect_at(1, "carol").await?,
    );
    for listener in [&alice, &bob, &carol] {
        listener.join_and_catch_up(&room).await?;
    }
    let private = json!({"type": "message:send", "room": room, "client_id": "p", "content": "psst", "visible_to": {"users": ["bob"]}});
    let epoch = alice.send_with(private).await?.epoch;
    alice.send(&room, "all").await?;
    for (listener, expected) in [(&alice, vec![1, 2]), (&bob, vec![1, 2]), (&carol, vec![2])] {
        for seq in expected {
            ensure!(next_message(listener).await?.0 == seq);
        }
    }
    let replayed = stack.connect("carol").await?;
    replayed.join_after(&room, &Cursor { epoch, seq: 0 }).await?;
    ensure!(next_message(&replayed).await?.0 == 2);
    for (who, count) in [("bob", 2), ("carol", 1)] {
        let page = stack.http(who).messages(&room, "").await?.expect(200).body;
        ensure!(page["messages"].as_array().map(Vec::len) == Some(count), "{who}: {page}");
    }
    Ok(())
}

// Covers: message:read, ok.
#[tokio::test]
async fn read_mark_lowers_unread_count_and_never_moves_back() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    for n in 0..5 {
        alice.send(&room, &n.to_string()).await?;
    }
    let unread = async || -> Result<(Value, Value)> {
        let body = stack.http("bob").my_rooms("").await?.expect(200).body;
        Ok((body["rooms"][0]["unread"].clone(), body["rooms"][0]["read_seq"].clone()))
    };
    ensure!(unread().await? == (json!(5), json!(0)));
    bob.read(&room, 3).await?;
    ensure!(unread().await? == (json!(2), json!(3)));
    bob.read(&room, 1).await?;
    ensure!(unread().await? == (json!(2), json!(3)), "a mark must not move back");
    bob.read(&room, 1_000_000).await?;
    ensure!(unread().await? == (json!(0), json!(5)), "a mark above the head must be clamped");
    let by_http = stack.http("alice").read(&room, 4).await?.expect(200).body;
    ensure!(by_http["seq"] == 4, "{by_http}");
    Ok(())
}
