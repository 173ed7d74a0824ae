//! A classroom behind a strict firewall: sends over HTTP with live delivery, private messages by user and by role, and
//! polling without WebSockets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{ClientError, Http, ServerFrame, Stack, System, clock};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn classroom(stack: &impl System) -> Result<String> {
    let members = json!([
        {"user": "tutor-1", "role": "tutor"}, {"user": "tutor-2", "role": "tutor"},
        {"user": "pupil-1"}, {"user": "pupil-2", "role": "guest"},
    ]);
    let room = json!({"kind": "private", "name": "5b", "members": members});
    let room = stack.http("teacher").post("/rooms", room).await?.expect(201).body;
    Ok(room["room"].as_str().context("no room")?.to_owned())
}

fn private_message(content: &str, visible_to: &Value) -> Value {
    json!({"client_id": clock::client_id(), "content": content, "visible_to": visible_to})
}

#[tokio::test]
async fn http_sends_arrive_live_and_private_ones_only_at_recipients() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = classroom(&stack).await?;
    let everyone = ["teacher", "tutor-1", "tutor-2", "pupil-1", "pupil-2"];
    let mut listeners = Vec::new();
    for (n, user) in everyone.into_iter().enumerate() {
        let client = stack.connect_at(n % 2, user).await?;
        client.join_and_catch_up(&room).await?;
        listeners.push(client);
    }
    let path = format!("/rooms/{room}/messages");
    let (teacher, pupil) = (stack.http("teacher"), stack.http("pupil-1"));
    let sent =
        teacher.post(&path, json!({"client_id": "1", "content": "good morning"})).await?.expect(201).body;
    ensure!(sent["stage"] == "stored" && sent["seq"] == 1, "{sent}");
    let to_tutors = private_message("who marks today?", &json!({"roles": ["tutor"]}));
    teacher.post(&path, to_tutors.clone()).await?.expect(201);
    pupil.post(&path, private_message("may I leave?", &json!({"users": ["teacher"]}))).await?.expect(201);
    teacher.post(&path, json!({"client_id": "4", "content": "class is over"})).await?.expect(201);
    ensure!(teacher.post(&path, to_tutors).await?.expect(200).body["duplicate"] == true);
    stack.http("pupil-2").post(&path, json!({"client_id": "5", "content": "x"})).await?.expect(403);

    let visible: [&[u64]; 5] = [&[1, 2, 3, 4], &[1, 2, 4], &[1, 2, 4], &[1, 3, 4], &[1, 4]];
    for ((user, client), seqs) in everyone.into_iter().zip(&listeners).zip(visible) {
        for seq in seqs {
            let ServerFrame::Message(message) = client.wait_for("message:new", WAIT_TIMEOUT).await? else {
                anyhow::bail!("{user}: not a message");
            };
            ensure!(message.seq == *seq, "{user}: {message:?}");
        }
        ensure!(matches!(
            client.wait_for("message:new", Duration::from_millis(300)).await,
            Err(ClientError::Silent(_))
        ));
        // History, the log and single messages show the user the same messages.
        let http = stack.http(user);
        let page = http.messages(&room, "").await?.expect(200).body;
        let listed: Vec<_> =
            page["messages"].as_array().into_iter().flatten().filter_map(|m| m["seq"].as_u64()).collect();
        ensure!(listed == seqs, "{user}: {listed:?}");
        let page = http.events(&room, "after=0").await?.expect(200).body;
        let listed: Vec<_> =
            page["events"].as_array().into_iter().flatten().filter_map(|e| e["seq"].as_u64()).collect();
        ensure!(listed == seqs && page["next"]["seq"] == 4, "{user}: {page}");
        for seq in 1..=4 {
            let one = http.get(&format!("{path}/{seq}")).await?.status;
            ensure!(one == if seqs.contains(&seq) { 200 } else { 404 }, "{user} {seq}: {one}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn conversation_works_by_polling_without_websockets() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_WEBSOCKET", false).start().await?;
    let room = classroom(&stack).await?;
    let transport = tidings_harness::http::get(&format!("{}/v1/transport", stack.gateway(0).url()))
        .await?
        .json::<Value>()
        .await?;
    ensure!(transport["websocket"] == false, "{transport}");
    let refused = stack.connect("teacher").await.err().context("the WebSocket was accepted")?;
    ensure!(
        matches!(&refused, ClientError::Refused { status: 503, body, .. } if body["fallback"] == "poll"),
        "{refused}"
    );

    let poll = |gateway: usize, user: &str, body: Value| {
        let http = Http::new(&stack.gateway(gateway).url(), &stack.token(user));
        async move { anyhow::Ok(http.post("/poll", body).await?.expect(200).body) }
    };
    let start = json!({"epoch": "1", "seq": 0});
    let send =
        json!({"type": "message:send", "room": room, "client_id": "1", "content": "hello", "ref": "a"});
    let answer = poll(0, "teacher", json!({"cursors": {&room: start}, "commands": [send]})).await?;
    ensure!(answer["answers"][0]["type"] == "ack" && answer["websocket"] == false, "{answer}");
    let secret = json!({"type": "message:send", "room": room, "client_id": "2", "content": "for tutors", "visible_to": {"roles": ["tutor"]}});
    poll(1, "teacher", json!({"commands": [secret]})).await?;
    let seqs = |answer: &Value| -> Vec<u64> {
        answer["events"].as_array().into_iter().flatten().filter_map(|event| event["seq"].as_u64()).collect()
    };
    let tutor = poll(1, "tutor-1", json!({"cursors": {&room: start}})).await?;
    ensure!(seqs(&tutor) == [1, 2], "{tutor}");
    let pupil = poll(1, "pupil-1", json!({"cursors": {&room: start}})).await?;
    ensure!(
        seqs(&pupil) == [1]
            && pupil["cursors"][&room]["seq"] == 2
            && !pupil.to_string().contains("for tutors"),
        "{pupil}"
    );
    let nothing = poll(0, "pupil-1", json!({"cursors": pupil["cursors"], "timeout_ms": 200})).await?;
    ensure!(seqs(&nothing).is_empty(), "{nothing}");
    Ok(())
}
