//! Limits on the resources of persistence that one client can occupy: unfinished bodies, waiting requests, slow reads,
//! and the rows that one page scans.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::http::{self, Answer};
use tidings_harness::{Http, Stack, System, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::room_log::hold;

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A request whose body is not finished yet.
struct SlowRequest {
    stream: TcpStream,
    rest: String,
}

impl SlowRequest {
    /// Sends a request without the last byte of its body.
    async fn begin(base: &str, path: &str, headers: &str, body: &str) -> Result<SlowRequest> {
        let host = base.strip_prefix("http://").context("an address")?;
        let mut stream = TcpStream::connect(host).await?;
        let (most, rest) = body.split_at(body.len() - 1);
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n\r\n{most}"
        );
        stream.write_all(request.as_bytes()).await?;
        Ok(SlowRequest { stream, rest: rest.to_owned() })
    }

    async fn read_answer(mut self) -> Result<(u16, String)> {
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            let mut bytes = [0; 4096];
            let count = tokio::time::timeout(WAIT_TIMEOUT, self.stream.read(&mut bytes)).await??;
            ensure!(count > 0, "closed without an answer");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        let status = text.split(' ').nth(1).context("a status")?.parse()?;
        Ok((status, text))
    }

    /// Finishes the body.
    async fn finish(mut self) -> Result<(u16, String)> {
        let rest = std::mem::take(&mut self.rest);
        self.stream.write_all(rest.as_bytes()).await?;
        self.read_answer().await
    }
}

/// Begins to send a message, but does not finish its body.
async fn begin_send(stack: &impl System, room: &str, token: &str) -> Result<SlowRequest> {
    let body = json!({"client_id": token.len().to_string(), "content": "late"}).to_string();
    let path = format!("/v1/rooms/{room}/messages");
    SlowRequest::begin(&stack.persistence_url(0), &path, &format!("authorization: Bearer {token}"), &body)
        .await
}

#[tokio::test]
async fn request_is_refused_when_access_ends_before_its_body() -> Result<()> {
    let stack = Stack::shared().await?;
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    let room = stack.http("alice").new_room(&["bob", "carol", "dave"]).await?;
    let short = stack.sign(Token::of("carol").ttl_s(2));
    let blocked = begin_send(&stack, &room, &stack.token("bob")).await?;
    let expired = begin_send(&stack, &room, &short).await?;
    let good = begin_send(&stack, &room, &stack.token("alice")).await?;
    // After this pause, the server is handling all these requests.
    tokio::time::sleep(Duration::from_secs(1)).await;
    root.put_user("bob", json!({"blocked": true})).await?.expect(200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, text) = blocked.finish().await?;
    ensure!(status == 403 && text.contains("forbidden"), "{text}");
    let (status, text) = expired.finish().await?;
    ensure!(status == 401 && text.contains("expired"), "{text}");
    ensure!(good.finish().await?.0 == 201, "a slow body alone is no reason to refuse");
    let page = stack.http("dave").messages(&room, "").await?.expect(200).body;
    ensure!(page["messages"].as_array().map(Vec::len) == Some(1), "{page}");
    Ok(())
}

#[tokio::test]
async fn unfinished_request_body_times_out() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let public = begin_send(&stack, &room, &stack.token("alice")).await?;
    let secret = format!("{}: {}", tidings_shared::internal::SECRET_HEADER, stack.internal_secret());
    let internal = SlowRequest::begin(
        &stack.persistence(0).internal(),
        tidings_shared::internal::SEED_PATH,
        &secret,
        "{}",
    )
    .await?;
    for (name, slow) in [("internal", internal), ("public", public)] {
        let (status, text) = slow.read_answer().await?;
        ensure!(status == 400, "{name}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn waiting_erasure_requests_of_one_user_are_limited() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    alice.new_room(&["bob"]).await?;
    // From here on no erasure can proceed, because Redis does not answer.
    stack.shards().pause()?;
    let mut asked: FuturesUnordered<_> =
        (0..20).map(|_| alice.request(Method::DELETE, "/me", None)).collect();
    for _ in 0..4 {
        let refused = tokio::time::timeout(Duration::from_secs(15), asked.next()).await?;
        refused.context("an answer")??.expect(503);
    }
    ensure!(
        tokio::time::timeout(Duration::from_secs(2), asked.next()).await.is_err(),
        "the other requests must wait"
    );
    stack.shards().resume()?;
    let begun = Instant::now();
    while stack.http("alice").request(Method::DELETE, "/me", None).await?.status != 204 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the erasure never finishes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Fetches a page of history; returns its seqs, `has_before` and `has_after`.
async fn fetch_page(user: &Http, room: &str, query: &str) -> Result<(Vec<u64>, bool, bool)> {
    let page = user.messages(room, query).await?.expect(200).body;
    let messages = page["messages"].as_array().context("no messages")?;
    let seqs = messages.iter().filter_map(|message| message["seq"].as_u64()).collect();
    Ok((seqs, page["has_before"] == true, page["has_after"] == true))
}

#[tokio::test]
async fn history_pages_skip_any_number_of_hidden_messages() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    // The messages 1 to 3, 50,001 to 50,003 and 120,001 to 120,003 are public. The seqs 60,000 to 95,000 are missing.
    // All other messages are private.
    stack
        .database()
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, visible_users, at, last_seq) \
             SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', 'm' || n, \
               CASE WHEN n BETWEEN 1 AND 3 OR n BETWEEN 50001 AND 50003 OR n > 120000 THEN NULL ELSE ARRAY['alice'] END, \
               now(), n FROM generate_series(1, 120003) n WHERE n NOT BETWEEN 60000 AND 95000; \
             UPDATE rooms SET head_seq = 120003 WHERE id = '{room}'"
        ))
        .await?;
    let top = vec![120_001, 120_002, 120_003];
    let middle = vec![50_001, 50_002, 50_003];
    let low = vec![1, 2, 3];
    for (query, expected) in [
        ("limit=3", (top.clone(), true, false)),
        ("limit=3&before=120001", (middle.clone(), true, true)),
        ("limit=3&before=50001", (low.clone(), false, true)),
        ("limit=3&before=1", (vec![], false, true)),
        ("limit=200", ([low.clone(), middle.clone(), top.clone()].concat(), false, false)),
        ("limit=3&after=3", (middle.clone(), true, true)),
        ("limit=4&after=3", (vec![50_001, 50_002, 50_003, 120_001], true, true)),
        ("limit=6&after=3", ([middle.clone(), top.clone()].concat(), true, false)),
        ("limit=3&after=120003", (vec![], true, false)),
        ("limit=4&around=70000", (vec![50_002, 50_003, 120_001, 120_002], true, true)),
        ("limit=200&around=50002", ([low, middle, top].concat(), false, false)),
    ] {
        ensure!(
            fetch_page(&bob, &room, query).await? == expected,
            "{query}: {:?}",
            fetch_page(&bob, &room, query).await?
        );
    }
    // A user who sees all messages gets full pages.
    let own = fetch_page(&alice, &room, "limit=3&before=50000").await?;
    ensure!(own == (vec![49_997, 49_998, 49_999], true, true), "{own:?}");
    Ok(())
}

#[tokio::test]
async fn public_rooms_with_equal_timestamps_are_each_listed_once() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    // There are 12,000 rooms, and every seven of them share a timestamp. The oldest public room has the name that is
    // searched.
    stack
        .database()
        .query(
            "INSERT INTO users (id) VALUES ('alice') ON CONFLICT DO NOTHING; \
             INSERT INTO rooms (id, partition, kind, name, created_by, updated_at) \
             SELECT 'r' || lpad(n::text, 5, '0'), 0, CASE WHEN n % 5 = 0 THEN 'private' ELSE 'public' END, \
               CASE WHEN n = 11999 THEN 'needle' ELSE 'Room ' || n END, 'alice', now() - (n / 7) * interval '1 minute' \
             FROM generate_series(1, 12000) n",
        )
        .await?;
    let read = async |query: &str, pages: usize| -> Result<(Vec<String>, usize)> {
        let (mut rooms, mut count, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = alice.get(&format!("/rooms?{query}{cursor}")).await?.expect(200).body;
            let listed = page["rooms"].as_array().context("no rooms")?;
            rooms.extend(listed.iter().filter_map(|room| room["room"].as_str()).map(ToOwned::to_owned));
            count += 1;
            match &page["next"] {
                Value::String(next) if count < pages => cursor = format!("&cursor={next}"),
                _ => return Ok((rooms, count)),
            }
        }
    };
    let expected = |count: usize| -> Vec<String> {
        (1..=12_000).filter(|n| n % 5 != 0).map(|n| format!("r{n:05}")).take(count).collect()
    };
    ensure!(read("limit=3", 30).await? == (expected(90), 30));
    ensure!(read("limit=200", usize::MAX).await? == (expected(12_000), 48));
    // A page scans at most 5,000 names, so the search finds the room on its second page.
    ensure!(read("query=NEEDLE", usize::MAX).await? == (vec!["r11999".to_owned()], 2));
    ensure!(read("query=room%201&limit=50", 3).await?.0.len() == 150);
    Ok(())
}

/// Starts `count` concurrent requests of `path` in the background.
fn spawn_requests(user: &Http, path: &str, count: usize) -> FuturesUnordered<JoinHandle<Result<Answer>>> {
    let ask = |_| {
        let (user, path) = (user.clone(), path.to_owned());
        tokio::spawn(async move { Ok(user.get(&path).await?) })
    };
    (0..count).map(ask).collect()
}

#[tokio::test]
async fn slow_reads_of_one_account_delay_nobody_and_keep_nodes_ready() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (mallory, bob) = (stack.http("mallory"), stack.http("bob"));
    let room = mallory.new_room(&["bob"]).await?;
    mallory.send(&room, "c1", "needle").await?.expect(201);
    let receipts = format!("/rooms/{room}/receipts");
    let readyz = format!("{}/readyz", stack.persistence(0).admin());
    for (slow, table, quick) in [
        ("/search?q=needle", "search_blocks", "/me/rooms"),
        ("/rooms?query=x", "public_rooms", "/me/rooms"),
        ("/me/rooms", "members", "/rooms"),
        (&receipts, "members", "/rooms"),
    ] {
        // While the table is locked, each read takes as long as the statement timeout.
        let held = hold(&stack, &format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"), 8.0).await?;
        let mut asked = spawn_requests(&mallory, slow, 60);
        stack.database().until_blocked().await?;
        // After this pause, all requests have reached the server.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ready = http::get(&readyz).await?.status();
        ensure!(ready == 200, "{slow}: the node is not ready: {ready}");
        bob.get(quick).await?.expect(200);
        // Reads that get no slot are refused long before the reads with slots are answered.
        let refused = tokio::time::timeout(WAIT_TIMEOUT, asked.next()).await?.context("an answer")???;
        ensure!(refused.status == 429 && refused.code() == "rate_limited", "{slow}: {}", refused.body);
        ensure!(refused.body["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{}", refused.body);
        let waiting = format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database \
             WHERE datname = current_database()) AND relation = '{table}'::regclass AND mode = 'AccessShareLock'"
        );
        ensure!(
            stack.database().value(&waiting).await?.parse::<u32>()? <= 2,
            "{slow} takes too many connections"
        );
        held.await?;
        while let Some(answer) = asked.next().await {
            let status = answer??.status;
            ensure!(status == 200 || status == 429, "{slow}: {status}");
        }
        mallory.get(slow).await?.expect(200);
    }
    Ok(())
}

#[tokio::test]
async fn reads_above_the_rate_wait_and_are_then_refused() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_READS_PER_SECOND", 1).start().await?;
    let (mallory, root) = (stack.http("mallory"), stack.http("root").with_token(&stack.admin_token("root")));
    let path = format!("/rooms/{}", mallory.new_room(&["bob"]).await?);
    let mut asked = spawn_requests(&mallory, &path, 20);
    let mut refused = 0;
    while let Some(answer) = asked.next().await {
        let answer = answer??;
        ensure!(answer.status == 200 || answer.code() == "rate_limited", "{}", answer.body);
        ensure!(answer.status == 200 || answer.body["retry_after_ms"].as_u64() > Some(0), "{}", answer.body);
        refused += u32::from(answer.status == 429);
        root.get(&path).await?.expect(200);
    }
    // The rate limit allows a burst of four, then one read per second. Each read waits for at most 3 s.
    ensure!((4..=16).contains(&refused), "{refused} were refused");
    stack.http("bob").get(&path).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn returned_pool_connection_runs_no_statement() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    for _ in 0..5 {
        alice.messages(&room, "").await?.expect(200);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let last = "SELECT count(*) > 0 AND bool_and(query NOT LIKE 'SHOW%') FROM pg_stat_activity \
                WHERE datname = current_database() AND state = 'idle' AND application_name = 'tidings-persistence http' \
                  AND query LIKE ANY (ARRAY['SHOW%', '%messages%'])";
    assert_eq!(stack.database().value(last).await?, "t");
    Ok(())
}
