//! Bounds on what a single client can occupy of persistence: slow bodies, long waits, and rows that one page scans.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);

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

    /// Status and text of the answer.
    async fn answer(mut self) -> Result<(u16, String)> {
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            let mut bytes = [0; 4096];
            let count = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await??;
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
        self.answer().await
    }
}

/// A message whose body is not finished yet.
async fn slow_send(stack: &Stack, room: &str, token: &str) -> Result<SlowRequest> {
    let body = json!({"client_id": token.len().to_string(), "content": "late"}).to_string();
    let path = format!("/v1/rooms/{room}/messages");
    SlowRequest::begin(&stack.persistence(0).url(), &path, &format!("authorization: Bearer {token}"), &body)
        .await
}

#[tokio::test]
async fn request_is_refused_when_access_ends_before_its_body() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    let room = stack.http("alice").new_room(&["bob", "carol", "dave"]).await?;
    let short = Token::of("carol").ttl_s(2).sign(stack.jwt_secret());
    let blocked = slow_send(&stack, &room, &stack.token("bob")).await?;
    let expired = slow_send(&stack, &room, &short).await?;
    let good = slow_send(&stack, &room, &stack.token("alice")).await?;
    // The server handles all of them by then.
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
    let public = slow_send(&stack, &room, &stack.token("alice")).await?;
    let secret = format!("{}: {}", tidings_shared::internal::SECRET_HEADER, stack.internal_secret());
    let internal =
        SlowRequest::begin(&stack.persistence(0).internal(), tidings_shared::internal::SEED, &secret, "{}")
            .await?;
    for (name, slow) in [("internal", internal), ("public", public)] {
        let (status, text) = slow.answer().await?;
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
    stack.redis().pause()?;
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
    stack.redis().resume()?;
    let begun = Instant::now();
    while stack.http("alice").request(Method::DELETE, "/me", None).await?.status != 204 {
        ensure!(begun.elapsed() < PATIENCE, "the erasure never finishes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A page as a user sees it: seqs, `has_before` and `has_after`.
async fn page(user: &Http, room: &str, query: &str) -> Result<(Vec<u64>, bool, bool)> {
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
    // Public are 1 to 3, 50,001 to 50,003 and 120,001 to 120,003. The others are private; 60,000 to 95,000 are missing.
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
            page(&bob, &room, query).await? == expected,
            "{query}: {:?}",
            page(&bob, &room, query).await?
        );
    }
    // A user who sees all messages gets full pages.
    let own = page(&alice, &room, "limit=3&before=50000").await?;
    ensure!(own == (vec![49_997, 49_998, 49_999], true, true), "{own:?}");
    Ok(())
}

#[tokio::test]
async fn public_rooms_with_equal_timestamps_are_each_listed_once() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    // Seven rooms at a time share a timestamp. Among 12,000 rooms the oldest public one has the name that is searched.
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
