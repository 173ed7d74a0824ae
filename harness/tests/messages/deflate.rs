//! Compression in the whole system: a room message is compressed once for all receivers, history is unchanged, and
//! decompression bombs cost little memory. Tests of the gateway's transport cover offers and inflating. With
//! `TIDINGS_TEST_DEFLATE=1` all other tests of the harness use compression too.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{
    Client, ServerFrame, Stack,
    deflate::{COMPRESSED, OFFER, deflated, inflated},
    raw::{RawSocket, frame, opcode},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn connect_deflating(stack: &Stack, user: &str) -> Result<Client> {
    Ok(Client::connect_deflating(&stack.gateway(0).ws(), &stack.token(user)).await?)
}

async fn open_deflating_socket(stack: &Stack, user: &str) -> Result<RawSocket> {
    let token = stack.token(user);
    let headers = format!("Authorization: Bearer {token}\r\nSec-WebSocket-Extensions: {OFFER}\r\n");
    RawSocket::open_with(stack.gateway(0).ports().public, &headers).await
}

async fn metric(stack: &Stack, name: &str) -> Result<u64> {
    let text = stack.gateway(0).metrics().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

async fn next_content(client: &Client) -> Result<String> {
    loop {
        if let ServerFrame::Message(message) = client.next_event(WAIT_TIMEOUT).await? {
            return Ok(message.content);
        }
    }
}

#[tokio::test]
async fn room_message_is_compressed_once_for_all_receivers() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut listeners = Vec::new();
    for _ in 0..8 {
        listeners.push(connect_deflating(&stack, "bob").await?);
    }
    for listener in &listeners {
        listener.join_and_catch_up(&room).await?;
    }
    let alice = connect_deflating(&stack, "alice").await?;
    let words = "Treffen wir uns um acht, oder um neun, und dann essen wir. ".repeat(16);
    alice.send(&room, "short").await?;
    alice.send(&room, &words).await?;
    for listener in &listeners {
        ensure!(next_content(listener).await? == "short" && next_content(listener).await? == words);
    }
    ensure!(
        metric(&stack, "tidings_gateway_frames_compressed_total").await? == 1,
        "only the long message must be compressed, once"
    );
    ensure!(metric(&stack, "tidings_gateway_compressed_frames_sent_total").await? == 8);
    ensure!(metric(&stack, "tidings_gateway_compression_saved_bytes_total").await? > 8 * 500);
    let page = stack.http("bob").get(&format!("/rooms/{room}/messages")).await?.expect(200);
    ensure!(page.body["messages"][1]["content"] == words.as_str(), "{}", page.body);
    Ok(())
}

#[tokio::test]
async fn client_without_deflate_offer_gets_plain_frames() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let content = "again and again ".repeat(60);
    let send = |client_id: &str| {
        json!({"type": "message:send", "ref": client_id, "room": room, "client_id": client_id, "content": content})
            .to_string()
    };
    let mut compressing = open_deflating_socket(&stack, "alice").await?;
    let mut plain = RawSocket::open(stack.gateway(0).ports().public, &stack.token("alice")).await?;
    let join = json!({"type": "room:join", "room": room}).to_string();
    for socket in [&mut compressing, &mut plain] {
        socket.send(opcode::TEXT, join.as_bytes()).await?;
        while next_json_frame(socket).await?.0["type"] != "room:caught_up" {}
    }
    compressing.send(opcode::TEXT, send("plainly").as_bytes()).await?;
    let mask = Some([9, 8, 7, 6]);
    let payload = deflated(send("compressed").as_bytes());
    compressing.send_bytes(&frame(0x80 | COMPRESSED | opcode::TEXT, &payload, mask)).await?;
    for (socket, compressed) in [(&mut compressing, true), (&mut plain, false)] {
        let mut messages = 0;
        while messages < 2 {
            let (value, is_compressed) = next_json_frame(socket).await?;
            if value["type"] == "message:new" {
                ensure!(value["content"] == content.as_str() && is_compressed == compressed, "{value}");
                messages += 1;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn bombs_are_refused_within_memory_bound() -> Result<()> {
    let stack = Stack::start().await?;
    let bomb =
        frame(0x80 | COMPRESSED | opcode::TEXT, &deflated(&vec![b' '; 32 * 1024 * 1024]), Some([1, 2, 3, 4]));
    ensure!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let peak = || peak_memory_bytes(stack.gateway(0).pid().context("no gateway")?);
    open_deflating_socket(&stack, "alice").await?.send(opcode::TEXT, b"{}").await?;
    let before = peak()?;
    for _ in 0..10 {
        let mut socket = open_deflating_socket(&stack, "alice").await?;
        socket.send_bytes(&bomb).await?;
        ensure!(socket.until_close(WAIT_TIMEOUT).await? == Some(1009));
    }
    let grown = peak()? - before;
    ensure!(grown < 16 * 1024 * 1024, "the gateway held {grown} bytes more");
    ensure!(metric(&stack, "tidings_gateway_inflate_limit_closes_total").await? == 10);
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

#[tokio::test]
async fn disabled_deflate_is_not_negotiated_and_messages_flow() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_DEFLATE", "false").start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let alice = connect_deflating(&stack, "alice").await?;
    alice.join_and_catch_up(&room).await?;
    let words = "the same words ".repeat(60);
    alice.send(&room, &words).await?;
    ensure!(next_content(&alice).await? == words);
    ensure!(metric(&stack, "tidings_gateway_compressed_frames_sent_total").await? == 0);
    let mut socket = open_deflating_socket(&stack, "alice").await?;
    let marked = frame(0x80 | COMPRESSED | opcode::TEXT, &deflated(b"{}"), Some([1, 2, 3, 4]));
    socket.send_bytes(&marked).await?;
    ensure!(socket.until_close(WAIT_TIMEOUT).await? == Some(1002));
    Ok(())
}

/// The next JSON frame, and whether it was compressed.
async fn next_json_frame(socket: &mut RawSocket) -> Result<(serde_json::Value, bool)> {
    loop {
        let frame =
            tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await??.context("the connection ended")?;
        match (frame.opcode, frame.compressed) {
            (opcode::TEXT, true) => return Ok((serde_json::from_slice(&inflated(&frame.payload)?)?, true)),
            (opcode::TEXT, false) => return Ok((serde_json::from_str(frame.text())?, false)),
            (opcode::CLOSE, _) => anyhow::bail!("closed with {:?}", frame.close_code()),
            _ => {}
        }
    }
}

fn peak_memory_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
