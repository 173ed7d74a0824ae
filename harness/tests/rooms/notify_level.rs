//! The notification level: each member has one per room, only the member sees it, and it ends with the membership.

use crate::hearing::{WAIT_TIMEOUT, new_room_with};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, http::Answer};

async fn set_level(http: &Http, room: &str, body: Value) -> Result<Answer> {
    Ok(http.request(Method::PATCH, &format!("/rooms/{room}/me"), Some(body)).await?)
}

/// The level in the list of rooms, which is also the level of the room.
async fn level(http: &Http, room: &str) -> Result<Value> {
    let list = http.my_rooms("").await?.expect(200).body["rooms"][0]["notify"].clone();
    ensure!(http.room(room).await?.expect(200).body["notify"] == list, "{list}");
    Ok(list)
}

// Covers: PATCH /rooms/{room}/me, rooms:changed.
#[tokio::test]
async fn notify_level_is_kept_per_member_and_told_to_own_devices() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member"), ("gil", "guest")]).await?;
    let (alice, bob, gil) = (stack.http("alice"), stack.http("bob"), stack.http("gil"));
    ensure!(level(&bob, &room).await? == "all");
    let devices = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    let before = bob.my_rooms("").await?.expect(200).body["rooms_version"].clone();

    let set = set_level(&bob, &room, json!({"notify": "mentions"})).await?.expect(200).body;
    ensure!(set == json!({"notify": "mentions"}), "{set}");
    for device in &devices {
        device.wait_for("rooms:changed", WAIT_TIMEOUT).await?;
    }
    ensure!(bob.my_rooms("").await?.expect(200).body["rooms_version"] != before);
    set_level(&gil, &room, json!({"notify": "none"})).await?.expect(200);
    ensure!(level(&bob, &room).await? == "mentions");
    ensure!(level(&gil, &room).await? == "none");
    ensure!(level(&alice, &room).await? == "all");
    let members = alice.members(&room, "").await?.expect(200).body;
    ensure!(!members.to_string().contains("notify"), "others see the level: {members}");
    // A level is no event of the room.
    ensure!(alice.room(&room).await?.expect(200).body["head"]["seq"] == 0);

    // The level belongs to the membership.
    alice.remove_member(&room, "bob").await?.expect(200);
    set_level(&bob, &room, json!({"notify": "none"})).await?.expect(404);
    alice.put_member(&room, "bob", "member").await?.expect(200);
    ensure!(level(&bob, &room).await? == "all");
    Ok(())
}

#[tokio::test]
async fn wrong_notify_level_and_users_who_are_no_members_are_refused() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let bob = stack.http("bob");
    for bad in [json!({}), json!({"notify": null}), json!({"notify": "some"}), json!({"notify": true})] {
        let refused = set_level(&bob, &room, bad).await?.expect(400).body;
        ensure!(refused["field"] == "notify", "{refused}");
    }
    let all = || json!({"notify": "all"});
    set_level(&bob, &room, all()).await?.expect(200);
    set_level(&stack.http("eve"), &room, all()).await?.expect(404);
    set_level(&bob, "nowhere", all()).await?.expect(404);
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    set_level(&root, &room, all()).await?.expect(403);
    Ok(())
}
