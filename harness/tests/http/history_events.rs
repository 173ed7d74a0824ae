//! Pages of history with the changes of members and of the room: each page has those of its own part of the log.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack};

/// The changes that a page may have.
const MAX_EVENTS: usize = 200;

/// The seqs of the messages and of the changes of a page.
async fn seqs(who: &Http, room: &str, query: &str) -> Result<(Vec<u64>, Vec<u64>)> {
    let page = who.messages(room, &format!("{query}&system_events=true")).await?.expect(200).body;
    let of = |list: &Value| -> Vec<u64> {
        list.as_array().into_iter().flatten().filter_map(|one| one["seq"].as_u64()).collect()
    };
    Ok((of(&page["messages"]), of(&page["system_events"])))
}

// Covers: GET /rooms/{room}/messages.
#[tokio::test]
async fn pages_carry_their_changes_of_members_and_room() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    alice.put_member(&room, "carol", "member").await?.expect(200);
    alice.send(&room, "c", "hi").await?.expect(201);
    bob.request(Method::PUT, &format!("/rooms/{room}/messages/2/reactions/x"), None).await?.expect(200);
    alice.put_member(&room, "carol", "admin").await?.expect(200);
    bob.send(&room, "c", "hi").await?.expect(201);
    alice.remove_member(&room, "carol").await?.expect(200);
    alice.change_room(&room, json!({"name": "Larder"})).await?.expect(200);

    for (query, messages, events) in [
        ("limit=50", vec![2, 5], vec![1, 4, 6, 7]),
        ("limit=1", vec![5], vec![6, 7]),
        ("before=5&limit=1", vec![2], vec![1, 4]),
        ("after=2&limit=9", vec![5], vec![4, 6, 7]),
        ("after=0&limit=1", vec![2], vec![1]),
        ("around=2&limit=1", vec![2], vec![1]),
    ] {
        assert_eq!(seqs(&bob, &room, query).await?, (messages, events), "{query}");
    }
    let page = bob.messages(&room, "system_events=true").await?.expect(200).body;
    let log = bob.events(&room, "").await?.expect(200).body;
    assert_eq!(
        page["system_events"],
        json!([log["events"][0], log["events"][3], log["events"][5], log["events"][6]])
    );
    assert_eq!(page["system_events_truncated"], false);
    let plain = bob.messages(&room, "").await?.expect(200).body;
    assert_eq!(plain.get("system_events"), None);
    bob.messages(&room, "system_events=1").await?.expect(400);
    Ok(())
}

#[tokio::test]
async fn page_has_at_most_the_last_200_changes() -> Result<()> {
    let stack = Stack::shared().await?;
    let root = stack.http("alice").with_token(&stack.admin_token("alice"));
    let room = root.new_room(&["bob"]).await?;
    for number in 0..=MAX_EVENTS {
        let role = if number % 2 == 0 { "guest" } else { "member" };
        root.put_member(&room, "bob", role).await?.expect(200);
    }
    let page = root.messages(&room, "system_events=true").await?.expect(200).body;
    let events = page["system_events"].as_array().context("events")?;
    assert_eq!((events.len(), &events[0]["seq"]), (MAX_EVENTS, &json!(2)));
    assert_eq!(page["system_events_truncated"], true);
    Ok(())
}
