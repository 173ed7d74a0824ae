//! Search over HTTP: results, their order, and their visibility.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::http::encode;
use tidings_harness::{Http, Stack, clock};

use crate::search_index::{index_all, until_indexed};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

async fn search(user: &Http, query: &str, more: &str) -> Result<Value> {
    Ok(user.get(&format!("/search?q={}{more}", encode(query))).await?.expect(200).body)
}

/// The texts of the results, newest first.
async fn hit_texts(user: &Http, query: &str, more: &str) -> Result<Vec<String>> {
    let page = search(user, query, more).await?;
    let text = |result: &Value| result["message"]["content"].as_str().unwrap_or_default().to_owned();
    Ok(page["results"].as_array().into_iter().flatten().map(text).collect())
}

async fn send_all(user: &Http, room: &str, texts: &[&str]) -> Result<()> {
    for text in texts {
        user.send(room, &clock::client_id(), text).await?.expect(201);
    }
    Ok(())
}

// Covers: GET /search.
#[tokio::test]
async fn search_matches_all_words_newest_first_with_snippet() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let (one, other) = (alice.new_room(&["bob"]).await?, alice.new_room(&["bob"]).await?);
    send_all(&alice, &one, &["Tea for Zoë?", "coffee", "no <b>TEA</b> today"]).await?;
    send_all(&bob, &other, &["more tea, Zoe"]).await?;
    // A stored message is found at once, and also after it was indexed.
    ensure_words_found(&bob, &one).await?;
    index_all(&stack).await?;
    ensure_words_found(&bob, &one).await
}

async fn ensure_words_found(bob: &Http, one: &str) -> Result<()> {
    assert_eq!(hit_texts(bob, "tea", "").await?, ["more tea, Zoe", "no <b>TEA</b> today", "Tea for Zoë?"]);
    assert_eq!(hit_texts(bob, "zoe tea", "").await?, ["more tea, Zoe", "Tea for Zoë?"]);
    assert_eq!(hit_texts(bob, "te", "").await?.len(), 3, "the last word must match as a prefix");
    assert!(hit_texts(bob, "te zoe", "").await?.is_empty(), "other words must match exactly");
    let in_one = hit_texts(bob, "tea", &format!("&room={one}")).await?;
    assert_eq!(in_one, ["no <b>TEA</b> today", "Tea for Zoë?"]);

    let page = search(bob, "today tea", "").await?;
    let found = &page["results"][0];
    assert_eq!(
        found["snippet"],
        json!([
            {"text": "no <b>", "hit": false}, {"text": "TEA", "hit": true}, {"text": "</b> ", "hit": false},
            {"text": "today", "hit": true}
        ])
    );
    let message = bob.get(&format!("/rooms/{one}/messages/3")).await?.expect(200).body;
    assert_eq!(found["message"], message, "the result must contain the message object of history");
    assert_eq!(page["next"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn search_finds_only_currently_visible_messages() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let members =
        json!([{"user": "bob"}, {"user": "vera", "role": "vip"}, {"user": "greg", "role": "guest"}]);
    let room = alice.post("/rooms", json!({"kind": "public", "members": members})).await?.expect(201).body;
    let room = room["room"].as_str().unwrap_or_default().to_owned();
    let path = format!("/rooms/{room}/messages");
    for (client_id, to) in [("b", json!({"users": ["bob"]})), ("v", json!({"roles": ["vip"]}))] {
        let body =
            json!({"client_id": client_id, "content": format!("secret {client_id}"), "visible_to": to});
        alice.post(&path, body).await?.expect(201);
    }
    send_all(&stack.http("eve"), &stack.http("eve").new_room(&[]).await?, &["secret of eve"]).await?;
    index_all(&stack).await?;

    let found = async |user: &str| hit_texts(&stack.http(user), "secret", "").await;
    assert_eq!(found("alice").await?, ["secret v", "secret b"]);
    assert_eq!(found("bob").await?, ["secret b"]);
    assert_eq!(found("vera").await?, ["secret v"]);
    assert!(found("greg").await?.is_empty());
    assert_eq!(found("eve").await?, ["secret of eve"], "a public room must be searchable only for members");
    for (user, query) in [("greg", "secret"), ("eve", "secret b"), ("bob", "secret v")] {
        let page = search(&stack.http(user), query, "&limit=1").await?;
        assert_eq!(
            (&page["next"], page.get("total")),
            (&Value::Null, None),
            "{user}: the page must not reveal hidden results"
        );
    }
    let in_room = format!("&room={room}");
    assert_eq!(stack.http("eve").get(&format!("/search?q=secret{in_room}")).await?.status, 404);
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    assert!(
        hit_texts(&root, "secret", &in_room).await?.is_empty(),
        "the admin scope must not find private messages"
    );
    assert!(hit_texts(&root, "secret", "").await?.is_empty());

    stack.database().query("UPDATE members SET role = 'member' WHERE user_id = 'vera'").await?;
    assert!(found("vera").await?.is_empty(), "search must use the current role");
    stack.database().query("DELETE FROM members WHERE user_id = 'bob'").await?;
    assert!(found("bob").await?.is_empty(), "a former member must find nothing");
    Ok(())
}

#[tokio::test]
async fn stale_index_never_finds_deleted_or_changed_message() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    send_all(&alice, &room, &["needle one", "needle two", "needle three"]).await?;
    index_all(&stack).await?;
    // These changes have no event, so the index does not notice them.
    stack.database().query("UPDATE messages SET deleted = true WHERE seq = 1").await?;
    stack.database().query("UPDATE messages SET content = 'thread two' WHERE seq = 2").await?;
    assert_eq!(stack.database().value("SELECT count(*) FROM search_blocks").await?, "1");
    assert_eq!(hit_texts(&alice, "needle", "").await?, ["needle three"]);
    Ok(())
}

#[tokio::test]
async fn edits_and_deletes_reach_index() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    send_all(&alice, &room, &["needle one", "needle two"]).await?;
    index_all(&stack).await?;
    let path = format!("/rooms/{room}/messages");
    alice
        .request("PATCH".parse()?, &format!("{path}/1"), Some(json!({"content": "thread one"})))
        .await?
        .expect(200);
    alice.request("DELETE".parse()?, &format!("{path}/2"), None).await?.expect(200);
    let edited = hit_texts(&alice, "thread", "").await?;
    assert_eq!(edited, ["thread one"], "an edited text must be found at once");
    index_all(&stack).await?;
    assert_eq!(hit_texts(&alice, "thread", "").await?, ["thread one"]);
    assert!(hit_texts(&alice, "needle", "").await?.is_empty());
    let metrics = stack.persistence(0).metrics().await?;
    let value =
        |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    ensure!(value("tidings_persistence_search_indexed_total") >= Some(1.0), "{metrics}");
    // The signature equals that of a room that never had the other texts.
    let other = alice.new_room(&[]).await?;
    send_all(&alice, &other, &["thread one"]).await?;
    index_all(&stack).await?;
    let signatures = "SELECT count(*), count(DISTINCT signature) FROM search_blocks";
    assert_eq!(stack.database().query(signatures).await?, [["2", "1"]]);
    Ok(())
}

#[tokio::test]
async fn huge_message_does_not_block_indexing_of_room() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    // The message has more words than a signature has bits, and is longer than the API accepts.
    stack
        .database()
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             SELECT '{room}', 1, gen_random_uuid(), 'alice', 'c', 'text', string_agg('word' || n, ' '), now(), 1 \
             FROM generate_series(1, 100000) n; UPDATE rooms SET head_seq = 1 WHERE id = '{room}'"
        ))
        .await?;
    stack.shards().restart_empty().await?;
    let begun = Instant::now();
    while alice.send(&room, "after", "needle").await?.status == 503 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "Redis did not recover");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    index_all(&stack).await?;
    assert_eq!(hit_texts(&alice, "needle", "").await?, ["needle"]);
    assert_eq!(hit_texts(&alice, "word1 ", "").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn search_pages_have_no_hole_and_no_repetition() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(alice.new_room(&[]).await?);
    }
    // Groups of fifty messages have equal times, and lie in many blocks of each room.
    let database = stack.database();
    for (number, room) in rooms.iter().enumerate() {
        database
            .query(&format!(
                "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
                 SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', \
                   CASE WHEN n % {} = 0 THEN 'common needle' ELSE 'common' END, \
                   timestamptz '2026-01-01' + (n / 50) * interval '1 second', n FROM generate_series(1, 1300) n; \
                 UPDATE rooms SET head_seq = 1300 WHERE id = '{room}'",
                100 + number
            ))
            .await?;
    }
    index_all(&stack).await?;
    ensure!(database.value("SELECT count(*) FROM search_blocks").await? == "63");

    for (query, limit, expected) in [("needle", 7, 37), ("common", 200, 3900), ("common nee", 50, 37)] {
        let (mut found, mut cursor, mut last) = (Vec::new(), String::new(), String::from("9"));
        loop {
            let page = search(&alice, query, &format!("&limit={limit}{cursor}")).await?;
            let results = page["results"].as_array().cloned().unwrap_or_default();
            ensure!(results.len() <= limit);
            for result in &results {
                let message = &result["message"];
                let at = message["at"].as_str().unwrap_or_default().to_owned();
                ensure!(at <= last, "{at} after {last}");
                last = at;
                found.push((message["room"].to_string(), message["seq"].as_u64().unwrap_or_default()));
            }
            let Some(next) = page["next"].as_str() else { break };
            ensure!(results.len() == limit, "a page with a next page must be full here");
            cursor = format!("&cursor={next}");
        }
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!((found.len(), distinct.len()), (expected, expected), "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn any_query_text_is_answered() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    send_all(&alice, &room, &["it's 'quoted' \\ & (odd) | !x:* 東京タワー 🙂"]).await?;
    index_all(&stack).await?;
    for query in [
        "it's",
        "'quoted'",
        "\\",
        "&",
        "(odd) |",
        "!x:*",
        "<->",
        "東京",
        "タワー",
        "'",
        "''''",
        ":*",
        "🙂",
        "%",
        "x:*&",
    ] {
        let found = hit_texts(&alice, query, "").await?.len();
        assert_eq!(found, usize::from(query.contains(char::is_alphanumeric)), "{query}");
    }
    assert!(hit_texts(&alice, "京東", "").await?.is_empty());
    assert!(hit_texts(&alice, &"word ".repeat(40), "").await?.is_empty());
    for (bad, field) in [
        ("", "q"),
        ("?q=", "q"),
        (&format!("?q={}", "x".repeat(201)), "q"),
        ("?q=x&cursor=nonsense", "cursor"),
        ("?q=x&room=a%20b", "room"),
        ("?q=x&limit=0", "limit"),
    ] {
        let problem = alice.get(&format!("/search{bad}")).await?.expect(400).body;
        assert_eq!(problem["field"], field, "{bad}");
    }
    assert_eq!(alice.with_token("").get("/search?q=x").await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn index_fills_behind_writer_and_by_surviving_replica() -> Result<()> {
    let mut stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    // The lock blocks indexing; messages must still be stored.
    let url = stack.database().url().to_owned();
    let hold = "BEGIN; LOCK TABLE search_blocks IN SHARE MODE; SELECT pg_sleep(60)";
    let mut holder = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", hold, &url])
        .kill_on_drop(true)
        .spawn()?;
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'search_blocks'::regclass AND granted AND mode = 'ShareLock' \
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    stack.database().until(locked, "1").await?;
    // A complete block, so that the indexer soon waits for the lock.
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    for number in 1..=64 {
        let text = if number == 64 { "needle" } else { "other" };
        root.send(&room, &format!("m{number}"), text).await?.expect(201);
    }
    let waiting = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'search_blocks'::regclass AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    stack.database().until(waiting, "t").await?;
    assert_eq!(hit_texts(&alice, "needle", "").await?, ["needle"]);
    // The replica that stored the messages crashes before it indexes them.
    stack.persistence(0).kill();
    holder.kill().await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid() AND datname = current_database()";
    stack.database().query(end).await?;
    stack.add_persistence(tidings_harness::Ports::free()?).await?;
    until_indexed(&stack).await?;
    assert_eq!(stack.database().value("SELECT count(*) FROM search_blocks").await?, "2");
    assert_eq!(hit_texts(&stack.http_at(1, "alice"), "needle", "").await?, ["needle"]);
    Ok(())
}
