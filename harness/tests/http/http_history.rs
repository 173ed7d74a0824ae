//! History over HTTP: pages by seq, the raw log, and visibility for the reader.

use anyhow::Result;
use serde_json::{Value, json};
use tidings_harness::http::{EventsPage, MessagesPage};
use tidings_harness::{Http, Stack};

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

async fn send(who: &Http, room: &str, body: Value) -> Result<u64> {
    let answer = who.post(&format!("/rooms/{room}/messages"), body).await?.expect(201);
    Ok(answer.body["seq"].as_u64().unwrap_or_default())
}

async fn fetch_page(who: &Http, room: &str, query: &str) -> Result<(Vec<u64>, bool, bool)> {
    let page: MessagesPage = who.messages(room, query).await?.parse()?;
    Ok((page.messages.iter().map(|message| message.seq).collect(), page.has_before, page.has_after))
}

async fn fetch_log(who: &Http, room: &str, query: &str) -> Result<EventsPage> {
    who.events(room, query).await?.parse()
}

fn event_seqs(page: &EventsPage) -> Vec<u64> {
    page.events.iter().filter_map(|event| event["seq"].as_u64()).collect()
}

// Covers: GET /rooms/{room}/messages.
#[tokio::test]
async fn history_pages_lie_before_after_or_around_a_seq() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    for n in 1..=9 {
        assert_eq!(
            send(&alice, &room, json!({"client_id": format!("c{n}"), "content": format!("m{n}")})).await?,
            n
        );
    }
    for (query, seqs, has_before, has_after) in [
        ("", vec![1, 2, 3, 4, 5, 6, 7, 8, 9], false, false),
        ("limit=3", vec![7, 8, 9], true, false),
        ("before=7&limit=3", vec![4, 5, 6], true, true),
        ("before=4&limit=3", vec![1, 2, 3], false, true),
        ("before=1", vec![], false, true),
        ("after=0&limit=2", vec![1, 2], false, true),
        ("after=7&limit=2", vec![8, 9], true, false),
        ("after=9", vec![], true, false),
        ("around=5&limit=3", vec![4, 5, 6], true, true),
        ("around=1&limit=4", vec![1, 2, 3], false, true),
        ("around=900&limit=2", vec![9], true, false),
        ("limit=999", vec![1, 2, 3, 4, 5, 6, 7, 8, 9], false, false),
    ] {
        assert_eq!(fetch_page(&alice, &room, query).await?, (seqs, has_before, has_after), "{query}");
    }
    for bad in ["limit=0", "limit=x", "before=-1", "before=1&after=1", "around=1.5"] {
        assert_eq!(alice.messages(&room, bad).await?.expect(400).code(), "bad_request", "{bad}");
    }
    Ok(())
}

// Covers: GET /rooms/{room}/messages/{seq}.
#[tokio::test]
async fn a_message_comes_back_as_it_was_sent() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let content = "<b>hi</b>\n\t\"🙂\" \u{2028} ﷽ \\u0041";
    let attachment =
        json!({"name": "a.png", "url": "https://x.test/a", "media_type": "image/png", "size": 7});
    let body = json!({
        "client_id": "c 1", "content": content, "kind": "image", "reply_to": 1,
        "attachments": [attachment], "metadata": {"z": 1, "a": {"y": [null]}},
    });
    let seq = send(&alice, &room, body).await?;
    let message = alice.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body;
    assert_eq!(
        (&message["content"], &message["client_id"], &message["kind"]),
        (&json!(content), &json!("c 1"), &json!("image"))
    );
    assert_eq!(
        (&message["attachments"], &message["metadata"]),
        (&json!([attachment]), &json!({"z": 1, "a": {"y": [null]}}))
    );
    assert_eq!(
        (&message["reply_to"], &message["last_seq"], &message["reactions"]),
        (&json!(1), &json!(seq), &json!([]))
    );
    assert_eq!(
        (&message["sender"]["id"], &message["edited_at"], &message["visible_to"]),
        (&json!("alice"), &Value::Null, &Value::Null)
    );

    let events = fetch_log(&alice, &room, "").await?;
    let frame = &events.events[0];
    assert_eq!(
        (&frame["type"], &frame["id"], &frame["at"]),
        (&json!("message:new"), &message["id"], &message["at"])
    );
    assert_eq!(
        (&frame["content"], frame.get("deleted"), frame.get("visible_to")),
        (&json!(content), None, None)
    );
    alice.get(&format!("/rooms/{room}/messages/99")).await?.expect(404);
    Ok(())
}

#[tokio::test]
async fn private_message_is_visible_to_sender_and_recipients_only() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob, carol, dave) =
        (stack.http("alice"), stack.http("bob"), stack.http("carol"), stack.http("dave"));
    let body = json!({"kind": "private", "members": [{"user": "bob"}, {"user": "carol"}, {"user": "dave", "role": "vip"}]});
    let room =
        alice.post("/rooms", body).await?.expect(201).body["room"].as_str().unwrap_or_default().to_owned();
    send(&alice, &room, json!({"client_id": "1", "content": "to all"})).await?;
    send(&alice, &room, json!({"client_id": "2", "content": "to bob", "visible_to": {"users": ["bob"]}}))
        .await?;
    send(&alice, &room, json!({"client_id": "3", "content": "to vips", "visible_to": {"roles": ["vip"]}}))
        .await?;

    let admin = stack.http("root").with_token(&stack.admin_token("root"));
    for (who, seen) in [
        (&alice, vec![1, 2, 3]),
        (&bob, vec![1, 2]),
        (&carol, vec![1]),
        (&dave, vec![1, 3]),
        (&admin, vec![1]),
    ] {
        assert_eq!(fetch_page(who, &room, "").await?, (seen.clone(), false, false));
        let events = fetch_log(who, &room, "").await?;
        assert_eq!((event_seqs(&events), events.next.seq, events.more), (seen.clone(), 3, false));
        for seq in 1..=3 {
            let status = if seen.contains(&seq) { 200 } else { 404 };
            who.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(status);
        }
    }
    for (who, last, unread) in [(&bob, "to bob", 2), (&carol, "to all", 1), (&dave, "to vips", 2)] {
        let room = who.room(&room).await?.expect(200).body;
        assert_eq!((&room["last_message"]["content"], &room["unread"]), (&json!(last), &json!(unread)));
    }
    // A page without visible events still says where the next page begins.
    let hidden = fetch_log(&carol, &room, "after=1&limit=1").await?;
    assert_eq!((event_seqs(&hidden), hidden.next.seq, hidden.more), (vec![], 2, true));
    Ok(())
}

// Covers: GET /rooms/{room}/events.
#[tokio::test]
async fn the_log_is_read_in_pages_up_to_its_head() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let empty = fetch_log(&alice, &room, "").await?;
    assert_eq!((event_seqs(&empty), empty.next.seq, empty.head.seq, empty.more), (vec![], 0, 0, false));
    for n in 1..=5 {
        send(&alice, &room, json!({"client_id": format!("c{n}"), "content": "x"})).await?;
    }
    let first = fetch_log(&alice, &room, "limit=3").await?;
    assert_eq!((event_seqs(&first), first.next.seq, first.head.seq, first.more), (vec![1, 2, 3], 3, 5, true));
    let rest = fetch_log(&alice, &room, &format!("after=3&epoch={}&upto=5", first.head.epoch)).await?;
    assert_eq!((event_seqs(&rest), rest.next, rest.more), (vec![4, 5], first.head, false));
    Ok(())
}

// Covers: void.
#[tokio::test]
async fn void_event_exposes_only_its_seq_and_time() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    send(&alice, &room, json!({"client_id": "c1", "content": "x"})).await?;
    let rows = format!(
        "INSERT INTO events (room_id, seq, type, actor_id, client_id, at, body, void_reason, void_of, void_told) \
         VALUES ('{room}', 2, 'void', 'alice', 'c1', '2024-05-06T07:08:09.1234Z', '{{}}', 'duplicate', 1, true); \
         UPDATE rooms SET head_seq = 2 WHERE id = '{room}'"
    );
    stack.database().query(&rows).await?;
    let events = fetch_log(&alice, &room, "after=1").await?;
    let void = json!({"type": "void", "room": room, "seq": 2, "at": "2024-05-06T07:08:09.123Z"});
    assert_eq!(events.events, [void]);
    assert_eq!(fetch_page(&alice, &room, "").await?, (vec![1], false, false));
    Ok(())
}

#[tokio::test]
async fn outdated_epoch_conflict_names_last_valid_seq() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    for n in 1..=4 {
        send(&alice, &room, json!({"client_id": format!("c{n}"), "content": "x"})).await?;
    }
    let epoch: u64 = fetch_log(&alice, &room, "").await?.head.epoch.parse()?;
    for unknown in [format!("{}", epoch + 1), "x".into(), "0".into(), format!("0{epoch}"), "-1".into()] {
        let answer = alice.events(&room, &format!("epoch={unknown}")).await?.expect(409);
        assert_eq!((answer.code(), &answer.body["after"]), ("conflict", &json!(0)), "{unknown}");
    }
    let later = format!(
        "INSERT INTO epochs_opened (epoch, run_id) VALUES ({0}, 'x'), ({1}, 'y'); \
         INSERT INTO room_epochs (room_id, epoch, base) VALUES ('{room}', {0}, 2), ('{room}', {1}, 4)",
        epoch + 1,
        epoch + 2
    );
    stack.database().query(&later).await?;
    for (query, after) in [("after=3", 2), ("after=1&upto=3", 2), ("after=9&upto=99", 2)] {
        let answer = alice.events(&room, &format!("epoch={epoch}&{query}")).await?.expect(409);
        assert_eq!((answer.code(), &answer.body["after"]), ("conflict", &json!(after)), "{query}");
    }
    let good = fetch_log(&alice, &room, &format!("epoch={epoch}&after=2")).await?;
    assert_eq!((event_seqs(&good), good.next.epoch), (vec![3, 4], (epoch + 2).to_string()));
    let good = fetch_log(&alice, &room, &format!("epoch={}&after=4", epoch + 1)).await?;
    assert_eq!(event_seqs(&good), [] as [u64; 0]);
    Ok(())
}

#[tokio::test]
async fn unstored_upto_is_unavailable_after_five_seconds() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let started = std::time::Instant::now();
    let (events, messages) = tokio::join!(alice.events(&room, "upto=1"), alice.messages(&room, "upto=1"));
    for answer in [events?, messages?] {
        assert_eq!(answer.clone().expect(503).code(), "unavailable");
        assert!(answer.body["retry_after_ms"].as_u64().is_some());
    }
    assert!(started.elapsed().as_secs_f64() > 4.5);

    let waiting = {
        let (alice, room) = (alice.clone(), room.clone());
        tokio::spawn(async move { fetch_log(&alice, &room, "upto=1").await })
    };
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    send(&alice, &room, json!({"client_id": "c", "content": "x"})).await?;
    assert_eq!(event_seqs(&waiting.await??), [1]);
    Ok(())
}

#[tokio::test]
async fn readers_waiting_for_storage_are_limited_in_all_and_per_user() -> Result<()> {
    const MAX_WAITING: usize = 256;
    const MAX_WAITING_PER_USER: usize = 16;
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let names: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
    let room = alice.new_room(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let people: Vec<_> = names.iter().map(|name| stack.http(name)).collect();
    let ask = async |user: &tidings_harness::Http| anyhow::Ok(user.messages(&room, "upto=1").await?);
    let codes = |answers: &[tidings_harness::http::Answer], code: &str| {
        answers.iter().filter(|answer| answer.code() == code).count()
    };
    let own = futures_util::future::try_join_all((0..MAX_WAITING_PER_USER + 4).map(|_| ask(&alice))).await?;
    assert_eq!((codes(&own, "rate_limited"), codes(&own, "unavailable")), (4, MAX_WAITING_PER_USER));
    // On a busy machine the first readers may give up before the last have connected. Their connections stay open, so
    // the readers of the next attempt are faster.
    let mut overloaded = 0;
    for _ in 0..5 {
        let waiting = (0..MAX_WAITING + 20).map(|n| ask(&people[n % people.len()]));
        let all = futures_util::future::try_join_all(waiting).await?;
        overloaded = codes(&all, "overloaded");
        assert!(overloaded <= 20, "{overloaded} of {}", all.len());
        assert_eq!(overloaded + codes(&all, "unavailable"), all.len());
        if overloaded > 0 {
            break;
        }
    }
    assert!(overloaded > 0, "no reader was refused");
    // All slots are free again.
    alice.send(&room, "c", "x").await?.expect(201);
    alice.messages(&room, "upto=1").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn head_request_is_answered_as_get_without_body() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    for (path, status) in
        [(format!("/rooms/{room}"), 200), ("/me/rooms".into(), 200), ("/rooms/no".into(), 404)]
    {
        let got = alice.get(&path).await?.expect(status);
        let head = alice.request(reqwest::Method::HEAD, &path, None).await?.expect(status);
        assert_eq!((head.content_type, head.body), (got.content_type, serde_json::Value::Null), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn last_message_and_unread_lookup_stop_at_scan_limit() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let insert = async |from: u32, to: u32, visible_users: &str| {
        let sql = format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, visible_users, at, last_seq) \
             SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', 'm' || n, {visible_users}, now(), n \
             FROM generate_series({from}, {to}) n; UPDATE rooms SET head_seq = {to} WHERE id = '{room}'"
        );
        stack.database().query(&sql).await.map(drop)
    };
    let summary = async || -> Result<_> {
        let room = bob.room(&room).await?.expect(200).body;
        let last = room["last_message"]["content"].clone();
        Ok((last, room["unread"].clone(), room["unread_capped"].clone()))
    };
    insert(1, 3, "NULL").await?;
    insert(4, 2000, "ARRAY['alice']").await?;
    assert_eq!(summary().await?, (json!("m3"), json!(3), json!(false)), "all messages are scanned");
    insert(2001, 2100, "ARRAY['alice']").await?;
    assert_eq!(summary().await?, (Value::Null, json!(3), json!(true)), "the scan stopped early");
    let own = alice.room(&room).await?.expect(200).body;
    assert_eq!(own["last_message"]["content"], "m2100");
    Ok(())
}

// Covers: GET /rooms/{room}/receipts.
#[tokio::test]
async fn large_room_receipts_list_most_recent_readers() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    stack
        .database()
        .query(&format!(
            "INSERT INTO users (id) SELECT 'u' || n FROM generate_series(1, 1200) n; \
             INSERT INTO members (room_id, user_id, role, read_at) SELECT '{room}', 'u' || n, 'member', \
               CASE WHEN n > 300 THEN now() - (1200 - n) * interval '1 second' END FROM generate_series(1, 1200) n"
        ))
        .await?;
    let answer = alice.get(&format!("/rooms/{room}/receipts")).await?.expect(200).body;
    let receipts = answer["receipts"].as_array().cloned().unwrap_or_default();
    let users: Vec<&str> = receipts.iter().filter_map(|receipt| receipt["user"].as_str()).collect();
    assert_eq!((users.len(), users.is_sorted()), (1000, true));
    assert!(
        (301..=1200).all(|n| users.contains(&format!("u{n}").as_str())),
        "members who have read come first"
    );
    Ok(())
}
