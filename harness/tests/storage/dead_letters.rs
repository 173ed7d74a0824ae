//! `tidings-persistence dead-letter`: what PostgreSQL refused is appended anew once the cause is mended, once, before
//! everyone; what makes no sense any more is left and told.

use crate::room_log;
use std::time::Duration;

use crate::letters::{allow_tea, done, failed, list, only, put, put_message, refuse_tea};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, Http, ServerFrame, Stack};

const PATIENCE: Duration = Duration::from_secs(30);

async fn stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

async fn messages(user: &Http, room: &str) -> Result<Vec<Value>> {
    let page = user.messages(room, "").await?.expect(200).body;
    Ok(page["messages"].as_array().cloned().unwrap_or_default())
}

async fn head(stack: &Stack, room: &str) -> Result<String> {
    stack.database().value(&format!("SELECT head_seq FROM rooms WHERE id = '{room}'")).await
}

/// The next message that a device hears.
async fn heard(device: &Client) -> Result<Value> {
    loop {
        match device.next_of_log(PATIENCE).await? {
            ServerFrame::Message(message) => {
                return Ok(json!([message.client_id, message.content, message.kind, message.sender.id]));
            }
            ServerFrame::Void(_) | ServerFrame::CaughtUp(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refused_message_is_appended_anew_before_everyone_who_may_see_it_and_once() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let (alice, bob, carol) =
        (stack.connect("alice").await?, stack.connect("bob").await?, stack.connect("carol").await?);
    for device in [&alice, &bob, &carol] {
        device.join_and_catch_up(&room).await?;
    }
    refuse_tea(&stack).await?;
    let full = json!({"room": room, "client_id": "open", "content": "tea for all", "kind": "note",
        "metadata": {"b": 1.0, "a": [2]}});
    let private = json!({"room": room, "client_id": "private", "content": "tea for bob", "visible_to": {"users": ["bob"]}});
    for message in [full, private] {
        let refused = alice.send_with(message).await;
        ensure!(refused.is_err_and(|error| (error.code(), error.reason()) == ("bad_request", "rejected")));
    }
    ensure!(alice.send(&room, "coffee").await?.seq > 2);
    for (device, count) in [(&bob, 3), (&carol, 2)] {
        for _ in 0..count {
            heard(device).await?;
        }
    }

    let told = done(&stack, &["list"]).await?;
    ensure!(told.lines().count() == 3 && told.contains("SQLSTATE 23514") && !told.contains("tea"), "{told}");
    let letters = list(&stack, &["--show", "--room", &room]).await?;
    let fields = ["room", "seq", "type", "sender", "client_id"].map(|field| letters[0][field].clone());
    assert_eq!(fields, [json!(room), json!(1), json!("message:new"), json!("alice"), json!("open")]);
    ensure!(
        letters[0]["record"].as_str().is_some_and(|record| record.contains("tea for all")),
        "{letters:?}"
    );
    let (first, second) = (letters[0]["id"].to_string(), letters[1]["id"].to_string());
    ensure!(list(&stack, &["--limit", "1"]).await?.len() == 1);

    allow_tea(&stack).await?;
    let told = done(&stack, &["replay", &first, &second]).await?;
    ensure!(told.contains("2 replayed, 0 refused again, 0 not replayed"), "{told}");
    let open = json!([format!("replay:{first}"), "tea for all", "note", "alice"]);
    let private = json!([format!("replay:{second}"), "tea for bob", "text", "alice"]);
    for device in [&alice, &bob] {
        // The sender hears what they never sent like anyone else.
        let mut all = vec![heard(device).await?];
        while all.last() != Some(&private) {
            all.push(heard(device).await?);
        }
        ensure!(all.ends_with(&[open.clone(), private.clone()]), "{all:?}");
    }
    assert_eq!(heard(&carol).await?, open);
    ensure!(list(&stack, &[]).await?.is_empty());

    let stands = head(&stack, &room).await?;
    let told = done(&stack, &["replay", &first, &second]).await?;
    ensure!(told.contains("no such letter") && told.contains("0 replayed"), "{told}");
    ensure!(done(&stack, &["replay", "--all"]).await?.contains("0 replayed"));
    assert_eq!(head(&stack, &room).await?, stands, "nothing was appended");
    alice.send(&room, "end").await?;
    assert_eq!(heard(&carol).await?[1], "end", "neither the private message nor a second one");
    let all = messages(&stack.http("bob"), &room).await?;
    let texts: Vec<&Value> = all.iter().map(|message| &message["content"]).collect();
    assert_eq!(texts, ["coffee", "tea for all", "tea for bob", "end"]);
    assert_eq!((&all[1]["metadata"], &all[1]["kind"]), (&json!({"b": 1.0, "a": [2]}), &json!("note")));
    ensure!(messages(&stack.http("carol"), &room).await?.len() == 3);
    Ok(())
}

#[tokio::test]
async fn a_replay_that_was_cut_off_is_repeated_without_a_second_message() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let letter = put_message(&stack, &room, "alice").await?;
    // Stored, and then the letter cannot be taken away: as if the command died in between.
    let keep = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$; \
                CREATE TRIGGER keep BEFORE DELETE ON dead_letters FOR EACH ROW EXECUTE FUNCTION keep()";
    stack.database().query(keep).await?;
    failed(&stack, &["replay", &letter]).await?;
    assert_eq!(messages(&alice, &room).await?.len(), 1);
    failed(&stack, &["replay", &letter]).await?;
    // Redis forgets it all: PostgreSQL knows the client id.
    stack.redis().restart_empty().await?;
    stack.database().query("DROP TRIGGER keep ON dead_letters").await?;
    let told = done(&stack, &["replay", "--all"]).await?;
    ensure!(told.contains(&format!("{letter}: stands in {room} at 1")), "{told}");
    assert_eq!(messages(&alice, &room).await?.len(), 1);
    assert_eq!(head(&stack, &room).await?, "1");
    ensure!(list(&stack, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn one_that_is_refused_again_is_another_letter_and_the_command_fails() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    refuse_tea(&stack).await?;
    alice.send(&room, "c", "tea").await?.expect(400);
    let first = only(&stack).await?;
    let told = failed(&stack, &["replay", &first]).await?;
    let second = only(&stack).await?;
    ensure!(second != first, "it is another letter");
    ensure!(told.contains("refused again") && told.contains(&format!("letter {second} now")), "{told}");
    // Both places are void, and the room was told of both.
    let voids = "SELECT count(*) FROM events WHERE type = 'void' AND void_reason = 'rejected'";
    assert_eq!(stack.database().value(voids).await?, "2");
    let told = failed(&stack, &["replay", "--all"]).await?;
    ensure!(told.matches("refused again").count() == 1, "what comes back is not of the same run: {told}");

    allow_tea(&stack).await?;
    done(&stack, &["replay", "--all"]).await?;
    let all = messages(&alice, &room).await?;
    assert_eq!(all.iter().map(|message| &message["content"]).collect::<Vec<_>>(), ["tea"]);
    ensure!(list(&stack, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_cause_that_is_not_mended_does_not_cost_a_room_a_void_for_every_letter() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    refuse_tea(&stack).await?;
    let refused = (0..15).map(|n| {
        let (alice, room) = (alice.clone(), room.clone());
        async move { alice.send(&room, &n.to_string(), "tea").await.map(|answer| answer.status) }
    });
    ensure!(futures_util::future::try_join_all(refused).await?.iter().all(|status| *status == 400));
    let told = failed(&stack, &["replay", "--all"]).await?;
    ensure!(told.contains("10 letters in a row") && told.matches("refused again").count() == 11, "{told}");
    ensure!(list(&stack, &[]).await?.len() == 15, "none is lost");
    allow_tea(&stack).await?;
    done(&stack, &["replay", "--all"]).await?;
    assert_eq!(messages(&alice, &room).await?.len(), 15);
    Ok(())
}

#[tokio::test]
async fn a_refused_edit_is_made_unless_the_message_was_changed_since() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let edit = async |seq: u64, content: &str, status: u16| -> Result<()> {
        let path = format!("/rooms/{room}/messages/{seq}");
        alice.request(Method::PATCH, &path, Some(json!({"content": content}))).await?.expect(status);
        Ok(())
    };
    alice.send(&room, "one", "one").await?.expect(201);
    alice.send(&room, "two", "two").await?.expect(201);
    refuse_tea(&stack).await?;
    edit(1, "tea one", 400).await?;
    edit(2, "tea two", 400).await?;
    allow_tea(&stack).await?;
    edit(2, "coffee two", 200).await?;
    let told = failed(&stack, &["replay", "--all"]).await?;
    ensure!(told.contains("changed once more since"), "{told}");
    let all = messages(&alice, &room).await?;
    assert_eq!(all.iter().map(|message| &message["content"]).collect::<Vec<_>>(), ["tea one", "coffee two"]);
    let letter = only(&stack).await?;
    done(&stack, &["drop", &letter]).await?;
    ensure!(list(&stack, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_edit_does_not_outdo_one_that_was_accepted_since_and_is_not_stored_yet() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let path = format!("/rooms/{room}/messages/1");
    alice.send(&room, "one", "one").await?.expect(201);
    refuse_tea(&stack).await?;
    alice.request(Method::PATCH, &path, Some(json!({"content": "tea"}))).await?.expect(400);
    allow_tea(&stack).await?;
    let row = format!("SELECT FROM rooms WHERE id = '{room}' FOR UPDATE");
    let held = room_log::hold(&stack, &row, 6.0).await?;
    let coffee = json!({"content": "coffee", "ack": "accepted"});
    alice.request(Method::PATCH, &path, Some(coffee)).await?.expect(200);
    let told = failed(&stack, &["replay", "--all"]).await?;
    // The row is let go before who holds it has ended.
    tokio::time::timeout(Duration::from_secs(2), held).await.context("it was not waited for")??;
    ensure!(told.contains("changed once more since"), "{told}");
    assert_eq!(messages(&alice, &room).await?[0]["content"], "coffee");
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_any_more_is_left_with_the_reason() -> Result<()> {
    let stack = stack().await?;
    let (alice, bob, eve) = (stack.http("alice"), stack.http("bob"), stack.http("eve"));
    let room = alice.new_room(&["bob", "eve", "gina"]).await?;
    let old = alice.new_room(&[]).await?;
    bob.remove_member(&room, "bob").await?.expect(200);
    alice.put_member(&room, "gina", "guest").await?.expect(200);
    alice.archive_room(&old).await?.expect(204);
    ensure!(eve.request(Method::DELETE, "/me", None).await?.status == 204);

    stack.database().query("ALTER TABLE events ADD CONSTRAINT closed CHECK (type <> 'member:added')").await?;
    alice.put_member(&room, "carol", "member").await?.expect(400);
    let membership = only(&stack).await?;
    let mut cases = vec![
        (membership, "membership"),
        (put_message(&stack, &room, "bob").await?, "may not send"),
        (put_message(&stack, &room, "gina").await?, "may not send"),
        (put_message(&stack, &room, "eve").await?, "erased"),
        (put_message(&stack, &old, "alice").await?, "archived"),
        (put_message(&stack, "nowhere", "alice").await?, "no such room"),
        (put(&stack, &room, &[&room, "marks", "", "", "", "", "", ""], "[]").await?, "marks"),
        (put(&stack, &room, &["garbage"], "").await?, "no record that can be read"),
    ];
    stack.database().query("INSERT INTO users (id, blocked) VALUES ('mallory', true)").await?;
    cases.push((put_message(&stack, &room, "mallory").await?, "blocked"));
    let before = head(&stack, &room).await?;
    for (letter, reason) in &cases {
        let told = failed(&stack, &["replay", letter]).await?;
        ensure!(told.contains("not replayed") && told.contains(reason), "{reason}: {told}");
    }
    assert_eq!(head(&stack, &room).await?, before, "nothing was appended");
    ensure!(list(&stack, &[]).await?.len() == cases.len(), "nothing was taken away");

    let told = done(&stack, &["replay", "--any-sender", &cases[1].0]).await?;
    ensure!(told.contains("1 replayed"), "{told}");
    let told = failed(&stack, &["replay", "--any-sender", &cases[3].0]).await?;
    ensure!(told.contains("erased"), "whoever is erased stays so: {told}");
    Ok(())
}

#[tokio::test]
async fn letters_are_dropped_one_by_one_by_room_or_all_and_go_with_whom_they_are_of() -> Result<()> {
    let stack = stack().await?;
    let (alice, mallory) = (stack.http("alice"), stack.http("mallory"));
    let room = alice.new_room(&["mallory"]).await?;
    let other = alice.new_room(&[]).await?;
    refuse_tea(&stack).await?;
    mallory.send(&room, "m", "tea of mallory").await?.expect(400);
    alice.send(&room, "1", "tea").await?.expect(400);
    alice.send(&room, "2", "tea").await?.expect(400);
    alice.send(&other, "3", "tea").await?.expect(400);
    let letters = list(&stack, &[]).await?;
    ensure!(letters.len() == 4 && letters[0]["sender"] == "mallory", "{letters:?}");
    ensure!(mallory.request(Method::DELETE, "/me", None).await?.status == 204);
    let told = done(&stack, &["replay", &letters[0]["id"].to_string()]).await?;
    ensure!(told.contains("no such letter"), "{told}");

    let id = letters[1]["id"].to_string();
    ensure!(done(&stack, &["drop", &id]).await?.contains("1 dropped"));
    ensure!(done(&stack, &["drop", &id]).await?.contains("0 dropped"));
    failed(&stack, &["drop"]).await?;
    failed(&stack, &["drop", &id, "--all"]).await?;
    failed(&stack, &["drop", &id, "--room", &room]).await?;
    ensure!(done(&stack, &["drop", "--all", "--room", &room]).await?.contains("1 dropped"));
    let left = list(&stack, &[]).await?;
    ensure!(left.len() == 1 && left[0]["room"] == json!(other), "{left:?}");
    ensure!(done(&stack, &["drop", "--all"]).await?.contains("1 dropped"));
    ensure!(list(&stack, &[]).await?.is_empty());
    Ok(())
}
