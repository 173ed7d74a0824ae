//! Frames that come all at once: those of one room take effect one after the other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{ServerFrame, Stack};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn frames_of_one_room_take_effect_in_the_order_sent() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_MESSAGES_BURST", 100).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    // Join, 40 sends, leave, join: all of them wait, since the first needs Redis.
    stack.redis().pause()?;
    alice.send_json(&json!({"type": "room:join", "room": room, "ref": "first"})).await?;
    for n in 0..40 {
        let frame = json!({"type": "message:send", "room": room, "client_id": n.to_string(), "content": n.to_string()});
        alice.send_json(&frame).await?;
    }
    alice.send_json(&json!({"type": "room:leave", "room": room, "ref": "leave"})).await?;
    alice.send_json(&json!({"type": "room:join", "room": room, "ref": "second"})).await?;
    // What is answered behind them has them read.
    let pong = alice.ping().await;
    stack.redis().resume()?;
    pong?;
    let (mut order, mut heard, mut caught_up, mut acks) = (Vec::new(), Vec::new(), None, 0);
    while acks < 40 || caught_up.is_none() {
        let frame = alice.next_of_log(PATIENCE).await;
        match frame.with_context(|| format!("{acks} acks, {order:?}"))? {
            ServerFrame::Ack(ack) => {
                ensure!(ack.client_id == Some((ack.seq - 1).to_string()), "{ack:?}");
                acks += 1;
            }
            ServerFrame::Joined(joined) => order.push(format!("joined at {}", joined.rooms[0].head.seq)),
            frame if frame.kind() == "room:left" => order.push("left".to_owned()),
            // That of the first join comes wherever it got to, if it did before the leave.
            ServerFrame::CaughtUp(at) => caught_up = (order.len() == 3).then_some(at.seq),
            ServerFrame::Message(message) => {
                ensure!(order == ["joined at 0"], "{order:?}: {message:?}");
                heard.push(message.seq);
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    // Nothing was said before the first join, and all of it before the leave.
    ensure!(
        order == ["joined at 0", "left", "joined at 40"] && caught_up == Some(40),
        "{order:?}: {caught_up:?}"
    );
    // As far as it came before the leave took effect: the first was live long before the last was appended.
    ensure!(!heard.is_empty() && heard.iter().copied().eq(1..=heard.len() as u64), "{heard:?}");
    alice.send(&room, "heard again").await?;
    let heard = alice.next_of_log(PATIENCE).await?;
    ensure!(matches!(&heard, ServerFrame::Message(message) if message.seq == 41), "{heard:?}");
    ensure!(
        stack.http("alice").messages(&room, "").await?.expect(200).body["messages"].as_array().map(Vec::len)
            == Some(41)
    );
    Ok(())
}
