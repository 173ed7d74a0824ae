//! Engine.IO sessions behind a load balancer without sticky sessions: consecutive requests reach different gateways,
//! and the gateways forward them to the gateway with the session.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redis::cmd;
use serde_json::{Value, json};
use tidings_harness::engine_io::{EnginePolling, EngineSocket};
use tidings_harness::{Stack, clock};
use tokio::time::timeout;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on").start().await
}

fn base(stack: &Stack, gateway: usize) -> String {
    format!("{}/socket.io/", stack.gateway(gateway).url())
}

/// A polling session whose requests reach the two gateways in turn.
struct Alternating {
    sessions: [EnginePolling; 2],
    requests: usize,
    packets: VecDeque<String>,
}

impl Alternating {
    /// Opens a session at the first gateway.
    async fn open(stack: &Stack) -> Result<Alternating> {
        let first = EnginePolling::open(&base(stack, 0)).await?;
        let second = first.at(&base(stack, 1));
        Ok(Alternating { sessions: [first, second], requests: 0, packets: VecDeque::new() })
    }

    fn next_session(&mut self) -> &EnginePolling {
        self.requests += 1;
        &self.sessions[self.requests % 2]
    }

    async fn post(&mut self, packet: &str) -> Result<()> {
        let answer = self.next_session().post(packet).await?;
        ensure!((answer.status, answer.body.as_str()) == (200, "ok"), "{answer:?}");
        Ok(())
    }

    /// Polls until a packet begins like this, and returns the packet. Answers pings.
    async fn wait_for(&mut self, beginning: &str) -> Result<String> {
        loop {
            while let Some(packet) = self.packets.pop_front() {
                if packet == "2" {
                    self.post("3").await?;
                } else if packet.starts_with(beginning) {
                    return Ok(packet);
                }
            }
            let answer = timeout(WAIT_TIMEOUT, self.next_session().get()).await??;
            ensure!(answer.status == 200, "{answer:?}");
            self.packets.extend(answer.packets().map(ToOwned::to_owned));
        }
    }

    /// Connects the main namespace, and joins a room.
    async fn join(&mut self, token: &str, room: &str) -> Result<()> {
        self.post(&format!("40{}", json!({ "token": token }))).await?;
        self.wait_for("40{").await?;
        self.post(&format!("421{}", json!(["room:join", { "room": room }]))).await?;
        let joined = self.wait_for("431[").await?;
        ensure!(joined.contains("room:joined"), "{joined}");
        Ok(())
    }
}

fn send_packet(ack: usize, room: &str, content: &str) -> String {
    let message = json!({ "room": room, "client_id": clock::client_id(), "content": content });
    format!("42{ack}{}", json!(["message:send", message]))
}

/// The content of the message in an event.
fn content_of(packet: &str) -> Result<String> {
    let event: Value = serde_json::from_str(packet.strip_prefix("42").context("not an event")?)?;
    Ok(event[1]["content"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn conversation_completes_over_alternating_gateways() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect_at(1, "alice").await?;
    alice.join_and_catch_up(&room).await?;
    let mut bob = Alternating::open(&stack).await?;
    bob.join(&stack.token("bob"), &room).await?;
    for number in 10..30 {
        let (question, answer) = (format!("question {number}"), format!("answer {number}"));
        alice.send(&room, &question).await?;
        let event = bob.wait_for("42[\"message:new\"").await?;
        ensure!(content_of(&event)? == question, "{event}");
        bob.post(&send_packet(number, &room, &answer)).await?;
        let event = bob.wait_for("42[\"message:new\"").await?;
        ensure!(content_of(&event)? == answer, "{event}");
    }
    // A message is delivered before it is stored.
    let stored = format!("SELECT count(*) FROM messages WHERE room_id = '{room}'");
    stack.database().until(&stored, "40").await?;
    let page = stack.http("alice").messages(&room, "limit=200").await?.expect(200).body;
    ensure!(page["messages"].as_array().is_some_and(|messages| messages.len() == 40), "{page}");
    Ok(())
}

#[tokio::test]
async fn upgrade_at_other_gateway_continues_session() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect_at(0, "alice").await?;
    alice.join_and_catch_up(&room).await?;
    let mut bob = Alternating::open(&stack).await?;
    bob.join(&stack.token("bob"), &room).await?;
    let mut socket = EngineSocket::open(&bob.sessions[1].socket_url()).await?;
    socket.send("2probe").await?;
    let probe = timeout(WAIT_TIMEOUT, socket.next()).await?;
    ensure!(probe.text() == "3probe", "{probe:?}");
    socket.send("5").await?;
    for number in 10..20 {
        let content = format!("message {number}");
        alice.send(&room, &content).await?;
        socket.send(&send_packet(number, &room, "answer")).await?;
        let (mut has_event, mut has_ack) = (false, false);
        while !(has_event && has_ack) {
            let packet = timeout(WAIT_TIMEOUT, socket.next_answering_pings()).await?;
            ensure!(!packet.text().is_empty(), "{packet:?}");
            has_event |= packet.text().starts_with("42[") && packet.text().contains(&content);
            has_ack |= packet.text().starts_with(&format!("43{number}["));
        }
    }
    for session in &bob.sessions {
        let answer = session.get().await?;
        ensure!((answer.status, answer.code()) == (400, Some(1)), "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn session_of_killed_gateway_is_unknown_at_others() -> Result<()> {
    let stack = start_stack().await?;
    let session = EnginePolling::open(&base(&stack, 0)).await?.at(&base(&stack, 1));
    let answer = session.post("3").await?;
    ensure!(answer.status == 200, "{answer:?}");
    stack.gateway(0).kill();
    let answer = session.post("3").await?;
    ensure!((answer.status, answer.code()) == (400, Some(1)), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn stopped_gateway_removes_its_address() -> Result<()> {
    let stack = start_stack().await?;
    let addresses = || async {
        let keys: Vec<String> = stack.redis().command(cmd("KEYS").arg("{??}:gateway:*")).await?;
        anyhow::Ok(keys.len())
    };
    ensure!(addresses().await? == 2, "each gateway has an address");
    stack.gateway(0).stop().await?;
    ensure!(addresses().await? == 1, "the address of the stopped gateway is left");
    Ok(())
}
