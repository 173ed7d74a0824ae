//! The audit log: which actions are recorded, with whom, and how the log is read and ends.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack};

use crate::webhooks::until;

fn root(stack: &Stack) -> Http {
    stack.http("root").with_token(&stack.admin_token("root"))
}

/// The entries that match a query, as `actor action target detail`, newest first.
async fn entries(admin: &Http, query: &str) -> Result<Vec<String>> {
    let page = admin.get(&format!("/admin/audit?{query}")).await?.expect(200).body;
    ensure!(page["next"].is_null(), "{page}");
    Ok(page["entries"].as_array().into_iter().flatten().map(entry_text).collect())
}

fn entry_text(entry: &Value) -> String {
    let fields = ["actor", "action", "target", "detail"].map(|field| entry[field].as_str().unwrap_or("-"));
    fields.join(" ")
}

// Covers: GET /admin/audit.
#[tokio::test]
async fn actions_on_others_are_recorded_with_who_and_whom() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (root, alice, bob, carol) =
        (root(&stack), stack.http("alice"), stack.http("bob"), stack.http("carol"));
    let room = alice.new_room(&["bob", "carol"]).await?;
    let of_bob = bob.send(&room, "b1", "rude").await?.expect(201).body["seq"].clone();
    let own = alice.send(&room, "a1", "mine").await?.expect(201).body["seq"].clone();
    // What members do to themselves is no entry.
    alice.request(Method::DELETE, &format!("/rooms/{room}/messages/{own}"), None).await?.expect(200);
    carol.remove_member(&room, "carol").await?.expect(200);
    alice.request(Method::DELETE, &format!("/rooms/{room}/messages/{of_bob}"), None).await?.expect(200);
    alice.put_member(&room, "bob", "guest").await?.expect(200);
    alice.put_member(&room, "dan", "admin").await?.expect(200);
    alice.remove_member(&room, "bob").await?.expect(200);
    root.change_room(&room, json!({ "name": "Renamed" })).await?.expect(200);
    alice.archive_room(&room).await?.expect(204);
    let in_room = [
        "alice room.archive - -",
        "root room.change - -",
        "alice member.remove bob -",
        "alice member.add dan admin",
        "alice member.role bob guest",
        "alice message.delete bob -",
    ];
    ensure!(entries(&root, &format!("room={room}")).await? == in_room);

    root.put_user("bob", json!({ "blocked": true })).await?.expect(200);
    root.put_user("bob", json!({ "blocked": false })).await?.expect(200);
    root.put_user("bob", json!({ "name": "Robert" })).await?.expect(200);
    for _ in 0..2 {
        root.request(Method::DELETE, "/users/bob", None).await?.expect(204);
    }
    root.put_user("bob", json!({ "name": "back" })).await?.expect(409);
    root.post("/rooms", json!({ "kind": "private", "id": "chosen" })).await?.expect(201);
    let of_accounts = [
        "root user.erase bob -",
        "root user.change bob -",
        "root user.unblock bob -",
        "root user.block bob -",
    ];
    let of_bob = entries(&root, "target=bob").await?;
    ensure!(of_bob[..4] == of_accounts && of_bob.len() == 7, "{of_bob:?}");
    ensure!(entries(&root, "actor=root&room=chosen").await? == ["root room.create - -"]);
    ensure!(entries(&root, "actor=alice&target=bob").await?.len() == 3);
    ensure!(!root.get("/admin/audit").await?.expect(200).body.to_string().contains("Robert"));
    Ok(())
}

#[tokio::test]
async fn log_is_read_in_pages_by_admins_only() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (root, alice) = (root(&stack), stack.http("alice"));
    for number in 0..5 {
        root.put_user(&format!("u{number}"), json!({})).await?.expect(200);
    }
    let (mut targets, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = root.get(&format!("/admin/audit?limit=2{cursor}")).await?.expect(200).body;
        let entries = page["entries"].as_array().cloned().unwrap_or_default();
        ensure!(entries.len() <= 2 && entries.iter().all(|entry| entry["at"].is_string()), "{page}");
        targets.extend(entries.iter().map(|entry| entry["target"].as_str().unwrap_or_default().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    ensure!(targets == ["u4", "u3", "u2", "u1", "u0"], "{targets:?}");
    ensure!(alice.get("/admin/audit").await?.expect(403).code() == "forbidden");
    for (query, field) in [("actor=a%20b", "actor"), ("target=a%20b", "target"), ("cursor=x", "cursor")] {
        let refused = root.get(&format!("/admin/audit?{query}")).await?.expect(400).body;
        ensure!(refused["field"] == field, "{query}: {refused}");
    }
    ensure!(entries(&root, "actor=&target=&room=&cursor=&limit=").await?.len() == 5);
    Ok(())
}

#[tokio::test]
async fn old_entries_are_deleted() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_AUDIT_DAYS", "2").start().await?;
    let insert = "INSERT INTO audit_log (at, action, target) SELECT now() - make_interval(days => d), 'old', d::text \
                  FROM generate_series(1, 3) d";
    stack.database().query(insert).await?;
    // The clean-up runs soon after the start.
    stack.persistence(0).restart().await?;
    let is_deleted = async || {
        let left = stack.database().query("SELECT target FROM audit_log WHERE action = 'old'").await?;
        Ok(left == [["1"]])
    };
    until("old entries are deleted", is_deleted).await
}
