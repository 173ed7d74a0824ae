//! `tidings-persistence dead-letter`: a record that PostgreSQL refused is appended again after the cause is fixed,
//! exactly once and for the same readers. Letters that can no longer be applied are kept and reported.

use crate::room_log;
use std::time::Duration;

use crate::letters::{
    allow_tea, insert_letter, insert_message_letter, list_letters, only_letter_id, refuse_tea,
    run_expecting_failure, run_successfully,
};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, Http, ServerFrame, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

async fn fetch_messages(user: &Http, room: &str) -> Result<Vec<Value>> {
    let page = user.messages(room, "").await?.expect(200).body;
    Ok(page["messages"].as_array().cloned().unwrap_or_default())
}

async fn stored_head(stack: &Stack, room: &str) -> Result<String> {
    stack.database().value(&format!("SELECT head_seq FROM rooms WHERE id = '{room}'")).await
}

async fn next_message(device: &Client) -> Result<Value> {
    loop {
        match device.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => {
                return Ok(json!([message.client_id, message.content, message.kind, message.sender.id]));
            }
            ServerFrame::Void(_) | ServerFrame::CaughtUp(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn replayed_message_is_appended_once_for_its_readers() -> Result<()> {
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
            next_message(device).await?;
        }
    }

    let output = run_successfully(&stack, &["list"]).await?;
    ensure!(
        output.lines().count() == 3 && output.contains("SQLSTATE 23514") && !output.contains("tea"),
        "{output}"
    );
    let letters = list_letters(&stack, &["--show", "--room", &room]).await?;
    let fields = ["room", "seq", "type", "sender", "client_id"].map(|field| letters[0][field].clone());
    assert_eq!(fields, [json!(room), json!(1), json!("message:new"), json!("alice"), json!("open")]);
    ensure!(
        letters[0]["record"].as_str().is_some_and(|record| record.contains("tea for all")),
        "{letters:?}"
    );
    let (first, second) = (letters[0]["id"].to_string(), letters[1]["id"].to_string());
    ensure!(list_letters(&stack, &["--limit", "1"]).await?.len() == 1);

    allow_tea(&stack).await?;
    let output = run_successfully(&stack, &["replay", &first, &second]).await?;
    ensure!(output.contains("2 replayed, 0 refused again, 0 not replayed"), "{output}");
    let open = json!([format!("replay:{first}"), "tea for all", "note", "alice"]);
    let private = json!([format!("replay:{second}"), "tea for bob", "text", "alice"]);
    for device in [&alice, &bob] {
        // The sender receives the replayed messages like every other member.
        let mut all = vec![next_message(device).await?];
        while all.last() != Some(&private) {
            all.push(next_message(device).await?);
        }
        ensure!(all.ends_with(&[open.clone(), private.clone()]), "{all:?}");
    }
    assert_eq!(next_message(&carol).await?, open);
    ensure!(list_letters(&stack, &[]).await?.is_empty());

    let head_before = stored_head(&stack, &room).await?;
    let output = run_successfully(&stack, &["replay", &first, &second]).await?;
    ensure!(output.contains("no such letter") && output.contains("0 replayed"), "{output}");
    ensure!(run_successfully(&stack, &["replay", "--all"]).await?.contains("0 replayed"));
    assert_eq!(stored_head(&stack, &room).await?, head_before, "nothing was appended");
    alice.send(&room, "end").await?;
    assert_eq!(next_message(&carol).await?[1], "end", "carol receives no private message and no second copy");
    let all = fetch_messages(&stack.http("bob"), &room).await?;
    let texts: Vec<&Value> = all.iter().map(|message| &message["content"]).collect();
    assert_eq!(texts, ["coffee", "tea for all", "tea for bob", "end"]);
    assert_eq!((&all[1]["metadata"], &all[1]["kind"]), (&json!({"b": 1.0, "a": [2]}), &json!("note")));
    ensure!(fetch_messages(&stack.http("carol"), &room).await?.len() == 3);
    Ok(())
}

#[tokio::test]
async fn interrupted_replay_is_repeated_without_second_message() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let letter = insert_message_letter(&stack, &room, "alice").await?;
    // The message is stored, but the letter cannot be deleted, as if the command died in between.
    let keep = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$; \
                CREATE TRIGGER keep BEFORE DELETE ON dead_letters FOR EACH ROW EXECUTE FUNCTION keep()";
    stack.database().query(keep).await?;
    run_expecting_failure(&stack, &["replay", &letter]).await?;
    assert_eq!(fetch_messages(&alice, &room).await?.len(), 1);
    run_expecting_failure(&stack, &["replay", &letter]).await?;
    // Redis forgets everything, but PostgreSQL knows the client id.
    stack.redis().restart_empty().await?;
    stack.database().query("DROP TRIGGER keep ON dead_letters").await?;
    let output = run_successfully(&stack, &["replay", "--all"]).await?;
    ensure!(output.contains(&format!("{letter}: stored in {room} at 1")), "{output}");
    assert_eq!(fetch_messages(&alice, &room).await?.len(), 1);
    assert_eq!(stored_head(&stack, &room).await?, "1");
    ensure!(list_letters(&stack, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn letter_refused_again_becomes_new_letter_and_command_fails() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    refuse_tea(&stack).await?;
    alice.send(&room, "c", "tea").await?.expect(400);
    let first = only_letter_id(&stack).await?;
    let output = run_expecting_failure(&stack, &["replay", &first]).await?;
    let second = only_letter_id(&stack).await?;
    ensure!(second != first, "it is another letter");
    ensure!(output.contains("refused again") && output.contains(&format!("letter {second} now")), "{output}");
    // Both attempts became voids.
    let voids = "SELECT count(*) FROM events WHERE type = 'void' AND void_reason = 'rejected'";
    assert_eq!(stack.database().value(voids).await?, "2");
    let output = run_expecting_failure(&stack, &["replay", "--all"]).await?;
    ensure!(output.matches("refused again").count() == 1, "the run replays the new letter again: {output}");

    allow_tea(&stack).await?;
    run_successfully(&stack, &["replay", "--all"]).await?;
    let all = fetch_messages(&alice, &room).await?;
    assert_eq!(all.iter().map(|message| &message["content"]).collect::<Vec<_>>(), ["tea"]);
    ensure!(list_letters(&stack, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn replay_stops_after_ten_refusals_in_a_row() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    refuse_tea(&stack).await?;
    let refused = (0..15).map(|n| {
        let (alice, room) = (alice.clone(), room.clone());
        async move { alice.send(&room, &n.to_string(), "tea").await.map(|answer| answer.status) }
    });
    ensure!(futures_util::future::try_join_all(refused).await?.iter().all(|status| *status == 400));
    let output = run_expecting_failure(&stack, &["replay", "--all"]).await?;
    ensure!(
        output.contains("10 letters in a row") && output.matches("refused again").count() == 11,
        "{output}"
    );
    ensure!(list_letters(&stack, &[]).await?.len() == 15, "no letter is lost");
    allow_tea(&stack).await?;
    run_successfully(&stack, &["replay", "--all"]).await?;
    assert_eq!(fetch_messages(&alice, &room).await?.len(), 15);
    Ok(())
}

#[tokio::test]
async fn refused_edit_is_replayed_unless_message_changed_since() -> Result<()> {
    let stack = start_stack().await?;
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
    let output = run_expecting_failure(&stack, &["replay", "--all"]).await?;
    ensure!(output.contains("changed once more since"), "{output}");
    let all = fetch_messages(&alice, &room).await?;
    assert_eq!(all.iter().map(|message| &message["content"]).collect::<Vec<_>>(), ["tea one", "coffee two"]);
    let letter = only_letter_id(&stack).await?;
    run_successfully(&stack, &["drop", &letter]).await?;
    ensure!(list_letters(&stack, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn replayed_edit_does_not_override_newer_accepted_edit() -> Result<()> {
    let stack = start_stack().await?;
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
    let output = run_expecting_failure(&stack, &["replay", "--all"]).await?;
    // The process that holds the row ends shortly after it has released the row.
    tokio::time::timeout(Duration::from_secs(2), held)
        .await
        .context("the replay did not wait for the accepted edit")??;
    ensure!(output.contains("changed once more since"), "{output}");
    assert_eq!(fetch_messages(&alice, &room).await?[0]["content"], "coffee");
    Ok(())
}

#[tokio::test]
async fn obsolete_letter_is_kept_with_the_reason() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, bob, eve) = (stack.http("alice"), stack.http("bob"), stack.http("eve"));
    let room = alice.new_room(&["bob", "eve", "gina"]).await?;
    let old = alice.new_room(&[]).await?;
    bob.remove_member(&room, "bob").await?.expect(200);
    alice.put_member(&room, "gina", "guest").await?.expect(200);
    alice.archive_room(&old).await?.expect(204);
    ensure!(eve.request(Method::DELETE, "/me", None).await?.status == 204);

    stack.database().query("ALTER TABLE events ADD CONSTRAINT closed CHECK (type <> 'member:added')").await?;
    alice.put_member(&room, "carol", "member").await?.expect(400);
    let membership = only_letter_id(&stack).await?;
    let mut cases = vec![
        (membership, "membership"),
        (insert_message_letter(&stack, &room, "bob").await?, "may not send"),
        (insert_message_letter(&stack, &room, "gina").await?, "may not send"),
        (insert_message_letter(&stack, &room, "eve").await?, "erased"),
        (insert_message_letter(&stack, &old, "alice").await?, "archived"),
        (insert_message_letter(&stack, "nowhere", "alice").await?, "no such room"),
        (insert_letter(&stack, &room, &[&room, "marks", "", "", "", "", "", ""], "[]").await?, "marks"),
        (insert_letter(&stack, &room, &["garbage"], "").await?, "no record that can be read"),
    ];
    stack.database().query("INSERT INTO users (id, blocked) VALUES ('mallory', true)").await?;
    cases.push((insert_message_letter(&stack, &room, "mallory").await?, "blocked"));
    let before = stored_head(&stack, &room).await?;
    for (letter, reason) in &cases {
        let output = run_expecting_failure(&stack, &["replay", letter]).await?;
        ensure!(output.contains("not replayed") && output.contains(reason), "{reason}: {output}");
    }
    assert_eq!(stored_head(&stack, &room).await?, before, "nothing was appended");
    ensure!(list_letters(&stack, &[]).await?.len() == cases.len(), "a letter was removed");

    let output = run_successfully(&stack, &["replay", "--any-sender", &cases[1].0]).await?;
    ensure!(output.contains("1 replayed"), "{output}");
    let output = run_expecting_failure(&stack, &["replay", "--any-sender", &cases[3].0]).await?;
    ensure!(output.contains("erased"), "an erased user stays erased: {output}");
    Ok(())
}

#[tokio::test]
async fn letters_are_dropped_by_id_room_or_all_and_by_erasure() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, mallory) = (stack.http("alice"), stack.http("mallory"));
    let room = alice.new_room(&["mallory"]).await?;
    let other = alice.new_room(&[]).await?;
    refuse_tea(&stack).await?;
    mallory.send(&room, "m", "tea of mallory").await?.expect(400);
    alice.send(&room, "1", "tea").await?.expect(400);
    alice.send(&room, "2", "tea").await?.expect(400);
    alice.send(&other, "3", "tea").await?.expect(400);
    let letters = list_letters(&stack, &[]).await?;
    ensure!(letters.len() == 4 && letters[0]["sender"] == "mallory", "{letters:?}");
    ensure!(mallory.request(Method::DELETE, "/me", None).await?.status == 204);
    let output = run_successfully(&stack, &["replay", &letters[0]["id"].to_string()]).await?;
    ensure!(output.contains("no such letter"), "{output}");

    let id = letters[1]["id"].to_string();
    ensure!(run_successfully(&stack, &["drop", &id]).await?.contains("1 dropped"));
    ensure!(run_successfully(&stack, &["drop", &id]).await?.contains("0 dropped"));
    run_expecting_failure(&stack, &["drop"]).await?;
    run_expecting_failure(&stack, &["drop", &id, "--all"]).await?;
    run_expecting_failure(&stack, &["drop", &id, "--room", &room]).await?;
    ensure!(run_successfully(&stack, &["drop", "--all", "--room", &room]).await?.contains("1 dropped"));
    let left = list_letters(&stack, &[]).await?;
    ensure!(left.len() == 1 && left[0]["room"] == json!(other), "{left:?}");
    ensure!(run_successfully(&stack, &["drop", "--all"]).await?.contains("1 dropped"));
    ensure!(list_letters(&stack, &[]).await?.is_empty());
    Ok(())
}
