//! Search finds the same messages as a scan of all texts: not indexed, partly indexed and indexed, after edits and
//! deletes, with incomplete words.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures_util::FutureExt as _;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tidings_harness::{Http, Stack, http::encode};

use crate::search_index::{ensure_index_is_of_present_texts, index_all};

const ROOMS: usize = 3;
const MESSAGES: usize = 200;
const LETTERS: [&str; 8] = ["a", "b", "c", "é", "D", "茶", "東", "5"];

/// All messages: room, seq, and the present text, which is `None` for a deleted message.
type MessageTexts = Vec<(String, usize, Option<String>)>;

fn random_word(random: &mut StdRng) -> String {
    let length = [1, 2, 3, 4, 5, 7, 13][random.random_range(0..7)];
    (0..length).map(|_| LETTERS[random.random_range(0..if length < 4 { 8 } else { 5 })]).collect()
}

fn random_text(random: &mut StdRng) -> String {
    (0..random.random_range(0..8)).map(|_| random_word(random)).collect::<Vec<_>>().join(" ")
}

/// The words of a text: runs of letters, and each letter of a script without spaces.
fn split_words(text: &str) -> Vec<String> {
    let spaced = text.replace('é', "e").to_lowercase().replace('茶', " 茶 ").replace('東', " 東 ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Whether a query of one or two words separated by spaces finds a text. The last word may be incomplete.
fn matches_query(query: &str, text: &str) -> bool {
    let words = split_words(text);
    let (first, last) = query.split_once(' ').map_or((None, query), |(first, last)| (Some(first), last));
    first.is_none_or(|first| words.iter().any(|word| word == first))
        && words.iter().any(|word| word.starts_with(last))
}

async fn search_all_pages(user: &Http, query: &str) -> Result<BTreeSet<(String, usize)>> {
    let (mut found, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = user.get(&format!("/search?q={}&limit=50{cursor}", encode(query))).await?.expect(200).body;
        for result in page["results"].as_array().into_iter().flatten() {
            let message = &result["message"];
            let (room, seq) = (message["room"].as_str(), message["seq"].as_u64());
            let key = (room.unwrap_or_default().to_owned(), seq.unwrap_or_default() as usize);
            ensure!(found.insert(key), "{query}: {message} is found twice");
        }
        let Some(next) = page["next"].as_str() else { return Ok(found) };
        cursor = format!("&cursor={next}");
    }
}

async fn ensure_search_equals_scan(user: &Http, model: &MessageTexts, random: &mut StdRng) -> Result<()> {
    for _ in 0..40 {
        let words = split_words(&random_word(random));
        let (all, last) = (words.join(" "), words.last().map(String::as_str).unwrap_or_default());
        // The query has at most two words, because search treats adjacent letters of a script without spaces as one
        // term.
        let other = ["a ", "ab ", ""][random.random_range(0..3)];
        let query = if words.len() > 1 { format!("{other}{last}") } else { format!("{other}{all}") };
        let scanned: BTreeSet<_> = model
            .iter()
            .filter(|(.., text)| text.as_ref().is_some_and(|text| matches_query(&query, text)))
            .map(|(room, seq, _)| (room.clone(), *seq))
            .collect();
        let found = search_all_pages(user, &query).await?;
        ensure!(found == scanned, "{query}: search found {found:?}, the scan {scanned:?}");
    }
    Ok(())
}

#[tokio::test]
async fn search_finds_the_same_as_a_scan_of_all_texts() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (alice, seed) = (stack.http("alice"), rand::random());
    println!("seed {seed}");
    let (mut random, mut model) = (StdRng::seed_from_u64(seed), MessageTexts::new());
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(alice.new_room(&[]).await?);
    }
    for room in rooms {
        let mut rows = Vec::new();
        for seq in 1..=MESSAGES {
            let text = random_text(&mut random);
            let minute = random.random_range(0..60);
            rows.push(format!("({seq}, '{text}', {minute})"));
            model.push((room.clone(), seq, Some(text)));
        }
        // The times are random, because clocks may jump.
        stack
            .database()
            .query(&format!(
                "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
                 SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', t, now() - m * interval '1 minute', n \
                 FROM (VALUES {}) v (n, t, m); UPDATE rooms SET head_seq = {MESSAGES} WHERE id = '{room}'; \
                 INSERT INTO search_progress VALUES ('{room}', 0)",
                rows.join(", ")
            ))
            .await?;
    }
    // Edits and deletes need the heads in Redis. After Redis was emptied, services read the heads from PostgreSQL.
    stack.shards().restart_empty().await?;
    ensure_search_equals_scan(&alice, &model, &mut random).await?;
    index_all(&stack).await?;
    ensure_search_equals_scan(&alice, &model, &mut random).await?;

    let mut begun = false;
    for _ in 0..30 {
        let place = random.random_range(0..model.len());
        let (room, seq, present) = &mut model[place];
        if present.is_none() {
            continue;
        }
        let path = format!("/rooms/{room}/messages/{seq}");
        let new = format!("{} new", random_text(&mut random));
        loop {
            let answer = if random.random_range(0..4) == 0 {
                *present = None;
                alice.request("DELETE".parse()?, &path, None).await?
            } else {
                *present = Some(new.clone());
                alice.request("PATCH".parse()?, &path, Some(json!({"content": new}))).await?
            };
            // Redis was emptied, so the first change may be refused for a moment.
            if answer.status == 503 && !begun {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
            answer.expect(200);
            begun = true;
            break;
        }
    }
    ensure_search_equals_scan(&alice, &model, &mut random).await?;
    index_all(&stack).await?;
    ensure_search_equals_scan(&alice, &model, &mut random).await?;
    ensure_index_is_of_present_texts(&stack).await?;
    ensure_search_equals_scan(&alice, &model, &mut random).await
}

#[tokio::test]
async fn paging_finds_all_stored_messages_while_index_changes() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (alice, database) = (stack.http("alice"), stack.database());
    let room = alice.new_room(&[]).await?;
    // Requests with the admin scope have no rate limit.
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    let writing = async {
        for number in 1..=400 {
            root.send(&room, &format!("c{number}"), "common").await?.expect(201);
            if number % 5 == 0 {
                let path = format!("/rooms/{room}/messages/{}", number / 2);
                root.request("PATCH".parse()?, &path, Some(json!({"content": format!("common {number}")})))
                    .await?;
            }
        }
        anyhow::Ok(())
    };
    let reading = async {
        let blocks = "SELECT count(*) FROM search_blocks WHERE block >= 5";
        while database.value(blocks).await? == "0" {
            let stored = database.query("SELECT seq FROM messages WHERE content LIKE 'common%'").await?;
            let found = search_all_pages(&alice, "common").await?;
            for seq in stored.iter().flatten() {
                ensure!(found.contains(&(room.clone(), seq.parse()?)), "{seq} is missing in {}", found.len());
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(
        writing,
        tokio::time::timeout(std::time::Duration::from_secs(60), reading).map(|done| done?)
    )?;
    ensure_index_is_of_present_texts(&stack).await
}
