//! Many frames at once: the frames of one room take effect one after the other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{ServerFrame, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn room_frames_take_effect_in_send_order() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_MESSAGES_BURST", 100).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    // Join, 40 sends, leave, join: all of them wait, because the first needs Redis.
    stack.shards().pause()?;
    alice.send_json(&json!({"type": "room:join", "room": room, "ref": "first"})).await?;
    for n in 0..40 {
        let frame = json!({"type": "message:send", "room": room, "client_id": n.to_string(), "content": n.to_string()});
        alice.send_json(&frame).await?;
    }
    alice.send_json(&json!({"type": "room:leave", "room": room, "ref": "leave"})).await?;
    alice.send_json(&json!({"type": "room:join", "room": room, "ref": "second"})).await?;
    // When this ping is answered, the gateway has read all earlier frames.
    let pong = alice.ping().await;
    stack.shards().resume()?;
    pong?;
    let (mut order, mut received, mut caught_up, mut acks) = (Vec::new(), Vec::new(), None, 0);
    while acks < 40 || caught_up.is_none() {
        let frame = alice.next_of_log(WAIT_TIMEOUT).await;
        match frame.with_context(|| format!("{acks} acks, {order:?}"))? {
            ServerFrame::Ack(ack) => {
                ensure!(ack.client_id == Some((ack.seq - 1).to_string()), "{ack:?}");
                acks += 1;
            }
            ServerFrame::Joined(joined) => order.push(format!("joined at {}", joined.rooms[0].head.seq)),
            frame if frame.kind() == "room:left" => order.push("left".to_owned()),
            // The first join may catch up before the leave, at any seq.
            ServerFrame::CaughtUp(at) => caught_up = (order.len() == 3).then_some(at.seq),
            ServerFrame::Message(message) => {
                ensure!(order == ["joined at 0"], "{order:?}: {message:?}");
                received.push(message.seq);
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    // The log was empty at the first join and complete at the leave.
    ensure!(
        order == ["joined at 0", "left", "joined at 40"] && caught_up == Some(40),
        "{order:?}: {caught_up:?}"
    );
    // The connection received a prefix of the messages: at least the first one arrived before the leave took effect.
    ensure!(!received.is_empty() && received.iter().copied().eq(1..=received.len() as u64), "{received:?}");
    alice.send(&room, "received again").await?;
    let event = alice.next_of_log(WAIT_TIMEOUT).await?;
    ensure!(matches!(&event, ServerFrame::Message(message) if message.seq == 41), "{event:?}");
    ensure!(
        stack.http("alice").messages(&room, "").await?.expect(200).body["messages"].as_array().map(Vec::len)
            == Some(41)
    );
    Ok(())
}
