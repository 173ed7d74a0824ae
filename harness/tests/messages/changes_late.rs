//! Changes in unusual states: the message is not stored yet or is a late duplicate, PostgreSQL is away or refuses the
//! change, or the change is received twice.

use std::time::Duration;

use crate::room_log::{RoomLog, hold_messages, hold_partition};
use crate::ways::{ADD_REACTION, ChangeOutcome, DELETE, EDIT, Transport, both_transports};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Stack, frames::ServerFrame, http::Http};
use tidings_shared::{
    ids::RoomId,
    log::keys::{self, Partition},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

async fn fetch_message(http: &Http, room: &str, seq: u64) -> Result<Value> {
    Ok(http.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body)
}

async fn fetch_events(http: &Http, room: &str) -> Result<Vec<Value>> {
    Ok(http.events(room, "").await?.expect(200).body["events"].as_array().cloned().unwrap_or_default())
}

fn rejection() -> ChangeOutcome {
    let text = |text: &str| text.to_owned();
    ChangeOutcome::Refused { code: text("bad_request"), reason: text("rejected"), field: text("") }
}

#[tokio::test]
async fn message_is_changed_before_it_is_stored() -> Result<()> {
    let stack = Stack::start().await?;
    let (room, alice) = (RoomLog::new(&stack, 10_000).await?, stack.connect("alice").await?);
    let id = room.room.as_str();
    // The first send creates the room's state in Redis and in the gateway.
    alice.send(id, "before").await?;
    let hold = hold_messages(&stack, 2.0).await?;
    let fields = json!({"room": id, "client_id": "c", "content": "first", "ack": "accepted"});
    let sent = alice.send_with(fields).await?;
    let accepted = |mut fields: Value| {
        fields["ack"] = json!("accepted");
        fields
    };
    for (kind, fields) in [(EDIT, json!({"content": "second"})), (ADD_REACTION, json!({"emoji": "+"}))] {
        ensure!(alice.change(kind, id, sent.seq, accepted(fields)).await?.stage == "accepted");
    }
    // The delete drops the tail: from now on a change waits until its message is stored.
    let other =
        alice.send_with(json!({"room": id, "client_id": "d", "content": "x", "ack": "accepted"})).await?;
    alice.change(DELETE, id, other.seq, accepted(json!({}))).await?;
    let edited = alice.edit(id, sent.seq, "third").await?;
    hold.await?;
    let now = fetch_message(&stack.http("alice"), id, sent.seq).await?;
    ensure!((&now["content"], &now["last_seq"]) == (&json!("third"), &json!(edited.seq)), "{now}");
    ensure!(now["reactions"][0]["emoji"] == "+", "{now}");
    ensure!(fetch_message(&stack.http("alice"), id, other.seq).await?["deleted"] == true);
    Ok(())
}

#[tokio::test]
async fn change_without_postgresql_works_only_within_tail() -> Result<()> {
    let stack = Stack::builder().own_postgres().start().await?;
    let (room, alice) = (RoomLog::new(&stack, 10_000).await?, stack.connect("alice").await?);
    let id = room.room.as_str();
    let first = alice.send(id, "first").await?;
    let tail = keys::tail(&room.room);
    room.redis::<()>(redis::cmd("DEL").arg(&tail)).await?;
    let second = alice.send(id, "second").await?;

    stack.database().server().pause()?;
    let fields = |content: &str| json!({"content": content, "ack": "accepted", "client_id": content});
    let transport = Transport::Frame(Box::new(alice));
    let outcome = transport.change(EDIT, id, second.seq, fields("edited")).await?;
    ensure!(outcome.seq()? == second.seq + 1, "{outcome:?}");
    let outcome = transport.change(EDIT, id, first.seq, fields("later")).await?;
    ensure!(outcome.code() == "unavailable", "{outcome:?}");
    // A target above the head is refused without PostgreSQL.
    ensure!(transport.change(EDIT, id, 99, fields("x")).await?.code() == "not_found");
    stack.database().server().resume()?;

    let mut outcome = transport.change(EDIT, id, first.seq, fields("later")).await?;
    for _ in 0..100 {
        if outcome.code() != "unavailable" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        outcome = transport.change(EDIT, id, first.seq, fields("later")).await?;
    }
    // The seq shows that the change that was refused as `unavailable` was not appended.
    ensure!(outcome.seq()? == second.seq + 2, "{outcome:?}");
    let alice = stack.http("alice");
    alice.messages(id, &format!("upto={}", outcome.seq()?)).await?.expect(200);
    ensure!(fetch_message(&alice, id, first.seq).await?["content"] == "later");
    ensure!(fetch_message(&alice, id, second.seq).await?["content"] == "edited");
    Ok(())
}

#[tokio::test]
async fn change_of_late_duplicate_has_no_effect() -> Result<()> {
    let stack = Stack::start().await?;
    let (room, alice) = (RoomLog::new(&stack, 10_000).await?, stack.http("alice"));
    let id = room.room.as_str();
    alice.send(id, "c", "hello").await?.expect(201);
    room.forget_client_ids().await?;
    let path = format!("/rooms/{id}/messages");
    let body = json!({"client_id": "c", "content": "hello", "attempt": 1});
    alice.post(&path, body).await?.expect(200);
    room.until_head(&stack, 3).await?;
    // The record of the duplicate is in the tail, so the look-up takes it for a message.
    for (transport, seq) in both_transports(&stack, "alice").await?.iter().zip([4, 5]) {
        ensure!(transport.change(EDIT, id, 2, json!({"content": "nothing"})).await?.seq()? == seq);
    }
    ensure!(room.message_texts(&stack).await? == ["hello"]);
    let kinds: Vec<Value> =
        fetch_events(&alice, id).await?.iter().map(|event| event["type"].clone()).collect();
    ensure!(
        kinds == ["message:new", "void", "message:void", "message:edited", "message:edited"],
        "{kinds:?}"
    );
    // Without the tail, the look-up sees that the target is a void.
    room.redis::<()>(redis::cmd("DEL").arg(keys::tail(&room.room))).await?;
    for transport in both_transports(&stack, "alice").await? {
        ensure!(transport.change(EDIT, id, 2, json!({"content": "nothing"})).await?.code() == "not_found");
    }
    Ok(())
}

#[tokio::test]
async fn change_received_twice_applies_once() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (room, alice) = (RoomLog::new(&stack, 10_000).await?, stack.http("alice"));
    let (id, transport) = (room.room.as_str(), Transport::Http(alice.clone()));
    alice.send(id, "c", "x").await?.expect(201);
    let changes = [
        (ADD_REACTION, json!({"emoji": "+", "client_id": "a"})),
        (EDIT, json!({"content": "y", "client_id": "e"})),
    ];
    for (kind, fields) in &changes {
        transport.change(kind, id, 1, fields.clone()).await?.seq()?;
    }
    let before = fetch_message(&alice, id, 1).await?;
    // Redis remembers client ids for some minutes; a later repetition is another event with the same effect.
    room.forget_client_ids().await?;
    for ((kind, fields), seq) in changes.iter().zip(4..) {
        ensure!(transport.change(kind, id, 1, fields.clone()).await?.seq()? == seq);
    }
    let after = fetch_message(&alice, id, 1).await?;
    for field in ["content", "reactions"] {
        ensure!(after[field] == before[field], "{field}: {after}");
    }
    Ok(())
}

// Covers: message:void.
#[tokio::test]
async fn unwritable_change_is_voided_and_names_its_message() -> Result<()> {
    let stack = Stack::start().await?;
    let (room, alice, bob) =
        (RoomLog::new(&stack, 10_000).await?, stack.http("alice"), stack.connect("bob").await?);
    let id = room.room.as_str();
    bob.join_and_catch_up(id).await?;
    let sent = alice.send(id, "c", "good").await?.expect(201).body;
    stack.database().query("ALTER TABLE messages ADD CHECK (content <> 'poison')").await?;
    for (transport, client_id) in both_transports(&stack, "alice").await?.iter().zip(["p", "q"]) {
        let fields = json!({"content": "poison", "client_id": client_id});
        for _ in 0..2 {
            assert_eq!(transport.change(EDIT, id, 1, fields.clone()).await?, rejection());
        }
        let ServerFrame::Other(edited) = bob.wait_for("message:edited", WAIT_TIMEOUT).await? else {
            unreachable!()
        };
        let ServerFrame::Void(void) = bob.wait_for("message:void", WAIT_TIMEOUT).await? else {
            unreachable!()
        };
        assert_eq!((Some(void.target), void.message, void.of), (edited["seq"].as_u64(), Some(1), None));
        assert_eq!((void.reason.as_str(), void.client_id.as_deref()), ("rejected", Some(client_id)));
    }
    // The message is unchanged, and later events are stored.
    let now = fetch_message(&alice, id, 1).await?;
    assert_eq!(
        (&now["content"], &now["last_seq"], &now["edited_at"]),
        (&json!("good"), &sent["seq"], &json!(null))
    );
    let log = fetch_events(&alice, id).await?;
    let void = log.iter().find(|event| event["type"] == "message:void").cloned().unwrap_or_default();
    assert_eq!((&void["message"], &void["by"]), (&json!(1), &json!("alice")));
    ensure!(log.iter().filter(|event| event["type"] == "void").count() == 2, "{log:?}");
    ensure!(!json!(log).to_string().contains("poison"));
    Transport::Http(alice.clone()).change(EDIT, id, 1, json!({"content": "better"})).await?.seq()?;
    assert_eq!(fetch_message(&alice, id, 1).await?["content"], "better");

    // A new message with the client id of the rejected change is accepted.
    room.forget_client_ids().await?;
    alice.send(id, "p", "new").await?.expect(201);
    Ok(())
}

#[tokio::test]
async fn unwritable_private_change_is_hidden_from_others() -> Result<()> {
    let stack = Stack::start().await?;
    let (room, alice, bob) =
        (RoomLog::new(&stack, 10_000).await?, stack.http("alice"), stack.connect("bob").await?);
    let id = room.room.as_str();
    bob.join_and_catch_up(id).await?;
    let body = json!({"client_id": "c", "content": "good", "visible_to": {"users": ["nobody"]}});
    alice.post(&format!("/rooms/{id}/messages"), body).await?.expect(201);
    stack.database().query("ALTER TABLE messages ADD CHECK (content <> 'poison')").await?;
    assert_eq!(
        Transport::Http(alice.clone()).change(EDIT, id, 1, json!({"content": "poison"})).await?,
        rejection()
    );
    room.until_head(&stack, 3).await?;
    alice.send(id, "d", "for all").await?.expect(201);
    loop {
        let event = bob.next_event(WAIT_TIMEOUT).await?;
        if event.log_position().is_some() {
            ensure!(event.kind() == "message:new", "{event:?}");
            break;
        }
    }
    ensure!(
        fetch_events(&stack.http("bob"), id).await?.len() == 1 && fetch_events(&alice, id).await?.len() == 4
    );
    Ok(())
}

#[tokio::test]
async fn changes_of_unstored_messages_do_not_stop_connects() -> Result<()> {
    let stack = Stack::start().await?;
    let members: Vec<String> = (0..40).map(|n| format!("member-{n}")).collect();
    let room = stack.http("alice").new_room(&members.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let (id, alice) = (RoomId::parse(&room)?, stack.connect("alice").await?);
    alice.send(&room, "before").await?;
    let mut clients = Vec::new();
    for member in &members {
        clients.push(stack.connect(member).await?);
    }

    // The partition stores nothing, and a delete drops the tail. So the other message is neither in the tail nor
    // stored.
    let hold = hold_partition(&stack, Partition::of(&id), 8.0).await?;
    let fields =
        |client_id: &str| json!({"room": room, "client_id": client_id, "content": "x", "ack": "accepted"});
    let (sent, other) = (alice.send_with(fields("c")).await?, alice.send_with(fields("d")).await?);
    alice.change(DELETE, &room, other.seq, json!({"ack": "accepted"})).await?;
    let reactions: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let room = room.clone();
            tokio::spawn(async move { client.react(&room, sent.seq, "+").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The account of this user is not cached, so the gateway must ask persistence.
    stack.connect("newcomer").await?;
    ensure!(!reactions.iter().any(tokio::task::JoinHandle::is_finished), "the reactions did not wait");
    for reaction in reactions {
        match reaction.await? {
            Err(error) => ensure!(error.code() == "unavailable", "{error}"),
            Ok(ack) => bail!("{ack:?}: the message was stored too early"),
        }
    }
    hold.await?;
    alice.react(&room, sent.seq, "+").await?;
    Ok(())
}
