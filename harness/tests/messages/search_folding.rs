//! Messages, rooms and people are found in any form of their letters, whatever the locale of PostgreSQL. Blocks of the
//! index that another version made are found too, and are made again while nodes write.

use anyhow::{Result, ensure};
use serde_json::Value;
use tidings_harness::http::encode;
use tidings_harness::{Http, Stack, clock};

use crate::search_index::{ensure_index_is_of_present_texts, index_all};

/// Texts that people take for the same. `persistence/src/search/fold.rs` has more.
const SAME: &[(&str, &str)] = &[
    ("ölpreis", "Ölpreis"),
    ("ПРИВЕТ", "привет"),
    ("ΣΟΦΟΣ", "σοφος"),
    ("Đà", "đà"),
    ("Straße", "STRASSE"),
    ("Łukasz", "lukasz"),
    ("Ødegård", "odegard"),
    ("Đức", "duc"),
    ("Işık", "isik"),
    ("ﾃﾞｰﾀ", "データ"),
    ("مُحَمَّد", "محمد"),
    ("محـــمود", "محمود"),
    ("أحمد", "احمد"),
    ("שָׁלוֹם", "שלום"),
    ("葛\u{e0100}城市", "葛城市"),
    ("〇\u{fe00}〇", "〇〇"),
];
/// Number of messages that fill three blocks of the index.
const MESSAGES: usize = 191;

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).persistence_env("TIDINGS_READS_PER_SECOND", 1000).start().await
}

/// Stores texts as messages of alice in a room that has none, without a node. The seqs begin with 1.
async fn store(stack: &Stack, room: &str, texts: &[&str]) -> Result<()> {
    let rows: Vec<String> = (1..)
        .zip(texts)
        .map(|(seq, text)| {
            format!("('{room}', {seq}, gen_random_uuid(), 'alice', 'c{seq}', 'text', '{text}', now(), {seq})")
        })
        .collect();
    let insert = format!(
        "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) VALUES {}; \
         UPDATE rooms SET head_seq = {} WHERE id = '{room}'",
        rows.join(", "),
        texts.len()
    );
    stack.database().query(&insert).await.map(drop)
}

/// The texts at `pointer` in the items of the list `list` that the answer to `path` has.
async fn found(user: &Http, path: &str, query: &str, list: &str, pointer: &str) -> Result<Vec<String>> {
    let answer = user.get(&format!("{path}{}", encode(query))).await?.expect(200).body;
    let items = answer[list].as_array().into_iter().flatten();
    Ok(items.filter_map(|item| item.pointer(pointer).and_then(Value::as_str)).map(str::to_owned).collect())
}

#[tokio::test]
async fn every_search_finds_all_forms_of_a_text() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let texts: Vec<&str> = SAME.iter().flat_map(|(one, other)| [*one, *other]).collect();
    store(&stack, &room, &texts).await?;
    for (number, text) in texts.iter().enumerate() {
        let insert = format!(
            "INSERT INTO users (id, name) VALUES ('u{number}', '{text}'); \
             INSERT INTO members (room_id, user_id, role) VALUES ('{room}', 'u{number}', 'member'); \
             INSERT INTO rooms (id, partition, kind, name, created_by) \
               VALUES ('r{number}', 0, 'public', 'Our {text}', 'alice')"
        );
        stack.database().query(&insert).await?;
    }
    for is_indexed in [false, true] {
        if is_indexed {
            index_all(&stack).await?;
        }
        for (one, other) in SAME {
            for (query, text) in [(one, other), (other, one)] {
                let messages = found(&alice, "/search?q=", query, "results", "/message/content").await?;
                ensure!(
                    messages.iter().any(|it| it == text),
                    "{query} in {messages:?}, indexed: {is_indexed}"
                );
                let people = found(&alice, "/me/people?query=", query, "people", "/name").await?;
                ensure!(people.iter().any(|it| it == text), "{query} in {people:?}");
                let rooms = found(&alice, "/rooms?query=", query, "rooms", "/name").await?;
                ensure!(rooms.contains(&format!("Our {text}")), "{query} in {rooms:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn blocks_of_previous_version_are_rebuilt_beside_writes() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let (room, busy) = (alice.new_room(&[]).await?, alice.new_room(&[]).await?);
    let texts: Vec<&str> = (0..MESSAGES).map(|n| if n % 64 == 0 { "Straße" } else { "hay" }).collect();
    store(&stack, &room, &texts).await?;
    index_all(&stack).await?;
    let hits = async || found(&alice, "/search?q=", "STRASSE", "results", "/message/content").await;
    ensure!(hits().await?.len() == 3);

    // The previous version folded `Straße` to `straße`, so its signatures lack `strasse`.
    stack.database().query("UPDATE search_blocks SET signature = '\\x0000000000000000'").await?;
    ensure!(hits().await?.len() == 3, "a block of the previous version is not searched");

    let writer = tokio::spawn({
        let (alice, busy) = (alice.clone(), busy.clone());
        async move {
            loop {
                // A send may fail while the node restarts.
                let _ = alice.send(&busy, &clock::client_id(), "hay").await;
                tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            }
        }
    });
    stack.persistence(0).restart().await?;
    let outdated = "SELECT count(*) FROM search_blocks WHERE octet_length(signature) % 8 = 0";
    stack.database().until(outdated, "0").await?;
    writer.abort();
    ensure!(hits().await?.len() == 3);
    ensure_index_is_of_present_texts(&stack).await
}
