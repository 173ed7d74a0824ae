//! Pages end at 1 MiB: a client that reads a list of long entries page by page gets each entry once and in order.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, SharedStack, Stack, http};
use tidings_shared::limits::MAX_PAGE_BYTES;

/// The bytes that a page has beside its entries, at most.
const ENVELOPE_BYTES: usize = 4 * 1024;
/// Together more than two pages.
const MESSAGES: u64 = 64;

/// A user whose requests are not limited in number and bytes.
fn unlimited(stack: &SharedStack, user: &str) -> Http {
    stack.http(user).with_token(&stack.admin_token(user))
}

/// A message of about 39 KB.
fn long_message(number: u64) -> Value {
    let attachment = |index: u64| {
        let url = format!("https://x.test/{number}/{index}/{}", "a".repeat(2_000));
        json!({"name": "🙂".repeat(255), "url": url, "media_type": "image/png", "size": index})
    };
    json!({
        "client_id": format!("c{number}"),
        "content": format!("needle {number} {}", "🙂".repeat(960)),
        "attachments": (1..=10).map(attachment).collect::<Vec<_>>(),
        "metadata": {"text": "m".repeat(3_900)},
    })
}

/// Sends long messages. Returns them by their seqs, which are 1, 2, 3 ….
async fn send_long_messages(user: &Http, room: &str, count: u64) -> Result<Vec<(u64, Value)>> {
    let mut sent = Vec::new();
    for number in 1..=count {
        let message = long_message(number);
        let answer = user.post(&format!("/rooms/{room}/messages"), message.clone()).await?.expect(201);
        sent.push((answer.body["seq"].as_u64().context("a seq")?, message));
    }
    Ok(sent)
}

/// Reads a page, and checks its length.
async fn read_page(user: &Http, path: &str) -> Result<Value> {
    let page = user.get(path).await?.expect(200).body;
    let bytes = page.to_string().len();
    ensure!(bytes <= MAX_PAGE_BYTES + ENVELOPE_BYTES, "{path}: {bytes} bytes");
    Ok(page)
}

/// Removes the messages or events from a page, each with its seq and with the fields of `long_message`.
fn take_messages(page: &mut Value, list: &str) -> Result<Vec<(u64, Value)>> {
    let Value::Array(messages) = page[list].take() else { anyhow::bail!("no {list}: {page}") };
    ensure!(!messages.is_empty(), "an empty page: {page}");
    let message = |message: Value| {
        let fields = ["client_id", "content", "attachments", "metadata"];
        let object = fields.map(|field| (field.to_owned(), message[field].clone()));
        Ok((message["seq"].as_u64().context("a seq")?, Value::Object(object.into_iter().collect())))
    };
    messages.into_iter().map(message).collect()
}

fn ensure_equal(found: &[(u64, Value)], sent: &[(u64, Value)], what: &str) -> Result<()> {
    let seqs = |messages: &[(u64, Value)]| messages.iter().map(|(seq, _)| *seq).collect::<Vec<_>>();
    ensure!(seqs(found) == seqs(sent), "{what}: {:?}", seqs(found));
    let differs = found.iter().zip(sent).find(|(found, sent)| found != sent);
    ensure!(differs.is_none(), "{what}: {differs:?}");
    Ok(())
}

// Covers: GET /rooms/{room}/messages.
#[tokio::test]
async fn long_messages_are_paged_exactly_in_each_direction() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = unlimited(&stack, "alice");
    let room = alice.new_room(&["bob"]).await?;
    let sent = send_long_messages(&alice, &room, MESSAGES).await?;
    let path = format!("/rooms/{room}/messages?limit=200");

    let mut page = read_page(&alice, &path).await?;
    let (mut found, mut pages) = (take_messages(&mut page, "messages")?, 1);
    ensure!(
        found.last().map(|(seq, _)| *seq) == Some(MESSAGES) && page["has_after"] == false,
        "the last page"
    );
    while page["has_before"] == true {
        page = read_page(&alice, &format!("{path}&before={}", found[0].0)).await?;
        ensure!(page["has_after"] == true, "nothing after an earlier page");
        let newer = std::mem::replace(&mut found, take_messages(&mut page, "messages")?);
        found.extend(newer);
        pages += 1;
    }
    ensure_equal(&found, &sent, "before")?;
    ensure!(pages == 3, "{pages} pages");

    let (mut found, mut after, mut has_after) = (Vec::new(), 0, true);
    while has_after {
        let mut page = read_page(&alice, &format!("{path}&after={after}")).await?;
        found.extend(take_messages(&mut page, "messages")?);
        after = found.last().map_or(0, |(seq, _)| *seq);
        has_after = page["has_after"] == true;
    }
    ensure_equal(&found, &sent, "after")?;

    let mut page = read_page(&alice, &format!("{path}&around=32")).await?;
    let found = take_messages(&mut page, "messages")?;
    let (first, last) = (found[0].0, found[found.len() - 1].0);
    ensure!(page["has_before"] == true && page["has_after"] == true, "{first} to {last}");
    ensure!(first < 28 && last > 36, "{first} to {last} has few messages on a side of 32");
    ensure_equal(&found, &sent[first as usize - 1..last as usize], "around")
}

// Covers: GET /rooms/{room}/events, GET /search, GET /me/export.
#[tokio::test]
async fn events_search_and_export_hold_each_long_message_once() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = unlimited(&stack, "alice");
    let room = alice.new_room(&["bob"]).await?;
    let sent = send_long_messages(&alice, &room, MESSAGES).await?;

    let (mut found, mut after, mut more) = (Vec::new(), 0, true);
    while more {
        let mut page = read_page(&alice, &format!("/rooms/{room}/events?after={after}&limit=200")).await?;
        found.extend(take_messages(&mut page, "events")?);
        let next = page["next"]["seq"].as_u64().context("a next")?;
        ensure!(found.last().map(|(seq, _)| *seq) == Some(next), "the page is not complete up to {next}");
        (after, more) = (next, page["more"] == true);
    }
    ensure_equal(&found, &sent, "events")?;

    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/search?q=needle&room={room}&limit=200{cursor}");
        let mut page = read_page(&alice, &path).await?;
        let Value::Array(results) = page["results"].take() else { anyhow::bail!("no results") };
        let messages = results.into_iter().map(|mut result| result["message"].take()).collect();
        page["messages"] = Value::Array(messages);
        found.extend(take_messages(&mut page, "messages")?);
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    found.reverse();
    ensure_equal(&found, &sent, "search")?;

    let export = http::client().get(format!("{}/v1/me/export", alice.base()));
    let text =
        export.bearer_auth(stack.admin_token("alice")).send().await?.error_for_status()?.text().await?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    ensure!(lines.last().is_some_and(|line| line["type"] == "end"), "the export was cut off");
    let messages =
        lines.into_iter().filter(|line| line["type"] == "message" && line["room"] == room.as_str());
    let mut found = take_messages(&mut json!({"messages": messages.collect::<Vec<_>>()}), "messages")?;
    found.sort_by_key(|(seq, _)| *seq);
    ensure_equal(&found, &sent, "export")
}

// Covers: GET /me/rooms.
#[tokio::test]
async fn own_rooms_with_long_messages_are_listed_once() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = unlimited(&stack, "alice");
    let mut rooms = Vec::new();
    for _ in 0..32 {
        let room = alice.new_room(&["bob"]).await?;
        send_long_messages(&alice, &room, 1).await?;
        rooms.insert(0, room);
    }
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = read_page(&alice, &format!("/me/rooms?limit=200{cursor}")).await?;
        let listed = page["rooms"].as_array().context("no rooms")?;
        found.extend(listed.iter().filter_map(|room| room["room"].as_str()).map(ToOwned::to_owned));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    ensure!(found == rooms, "{found:?}");
    ensure!(pages == 2, "{pages} pages");
    Ok(())
}

// Covers: GET /rooms/{room}/messages/{seq}/versions.
#[tokio::test]
async fn long_versions_keep_the_original_and_the_last() -> Result<()> {
    let stack = Stack::builder().gateways(0).env("TIDINGS_MAX_MESSAGE_CHARS", 4_000).start().await?;
    let alice = stack.http("alice").with_token(&stack.admin_token("alice"));
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "c", "original").await?.expect(201);
    let path = format!("/rooms/{room}/messages/1");
    let edit = async |content: String| {
        alice.request(Method::PATCH, &path, Some(json!({ "content": content }))).await
    };
    edit("short".to_owned()).await?.expect(200);
    let few = read_page(&alice, &format!("{path}/versions")).await?;
    ensure!(few["truncated"] == false && few["versions"].as_array().map(Vec::len) == Some(2), "{few}");
    for number in 1..=70 {
        edit(format!("{number} {}", "🙂".repeat(3_990))).await?.expect(200);
    }
    let many = read_page(&alice, &format!("{path}/versions")).await?;
    let contents = many["versions"].as_array().context("no versions")?.iter();
    let mut numbers = contents.filter_map(|version| version["content"].as_str()?.split(' ').next());
    ensure!(many["truncated"] == true && numbers.next() == Some("original"), "no original, or all are shown");
    let kept: Vec<&str> = numbers.collect();
    ensure!((60..70).contains(&kept.len()), "{} versions are kept", kept.len());
    let last = (71 - kept.len()..=70).map(|number| number.to_string());
    ensure!(last.eq(kept.iter().copied().map(ToOwned::to_owned)), "{kept:?}");
    Ok(())
}
