//! A small chat room: connect, join, send, get the ack, leave; and refused connections.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, Stack, Token, TokenBy};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

// Covers: connected, room:join, room:joined, message:send, ack, message:new, room:leave, room:left.
#[tokio::test]
async fn user_connects_joins_sends_and_leaves() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let ann = stack.connect_at(0, "ann").await?;
    let ben = stack.connect_at(1, "ben").await?;
    ensure!(ann.connected().user == "ann" && !ann.connected().connection.is_empty());
    ensure!(ann.connected().heartbeat_ms == 25_000, "{:?}", ann.connected());

    // The join answer describes the room.
    let joined = ann.join(&room).await?;
    ensure!((joined.room.as_str(), joined.members, joined.head.seq) == (room.as_str(), 2, 0), "{joined:?}");
    ann.wait_for("room:caught_up", WAIT_TIMEOUT).await?;
    ben.join_and_catch_up(&room).await?;

    // The sender gets an ack, and both users receive the message.
    let ack = ann.send(&room, "good morning").await?;
    ensure!((ack.seq, ack.stage.as_str(), ack.duplicate) == (1, "stored", false), "{ack:?}");
    for listener in [&ann, &ben] {
        let ServerFrame::Message(message) = listener.wait_for("message:new", WAIT_TIMEOUT).await? else {
            anyhow::bail!("not a message");
        };
        ensure!((message.content.as_str(), message.sender.id.as_str()) == ("good morning", "ann"));
        ensure!(Some(message.id.as_str()) == ack.id.as_deref() && message.seq == 1);
    }

    // After the leave nothing arrives; a later join replays the missed message.
    ensure!(ben.leave(&room).await? == json!([room]));
    ann.send(&room, "still there?").await?;
    ann.wait_for("message:new", WAIT_TIMEOUT).await?;
    ensure!(matches!(ben.next_event(Duration::from_secs(1)).await, Err(ClientError::Silent(_))));
    let after = tidings_harness::Cursor { epoch: joined.head.epoch.clone(), seq: 1 };
    ben.join_after(&room, &after).await?;
    let missed = ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    ensure!(missed.log_position() == Some((room.as_str(), 2)), "{missed:?}");
    Ok(())
}

#[tokio::test]
async fn refused_client_gets_reason() -> Result<()> {
    let stack = Stack::shared().await?;
    let ws = stack.gateway(0).ws();
    let refused = Client::connect(&ws, "nonsense").await.err().context("the connection was accepted")?;
    ensure!((refused.code(), refused.reason()) == ("unauthorized", "malformed"), "{refused}");
    let expired = stack.sign(Token::of("ann").ttl_s(-60));
    let refused = Client::connect(&ws, &expired).await.err().context("the connection was accepted")?;
    ensure!(refused.reason() == "expired", "{refused}");

    // A browser cannot read the answer to a handshake: it sends the token in the first frame and gets an error frame.
    let browser = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    let refused = browser
        .ask(json!({"type": "auth", "token": expired}))
        .await
        .err()
        .context("the token was accepted")?;
    ensure!((refused.code(), refused.reason()) == ("unauthorized", "expired"), "{refused}");
    ensure!(browser.until_closed().await?.code == Some(4401));

    // A room of other users looks like a missing room, and the connection stays open.
    let room = stack.http("ann").new_room(&[]).await?;
    let eve = stack.connect("eve").await?;
    let refused = eve.join(&room).await.err().context("the join succeeded")?;
    ensure!(refused.code() == "not_found", "{refused}");
    let missing = eve.join("no-such-room").await.err().context("the join succeeded")?;
    ensure!(missing.code() == "not_found", "{missing}");
    eve.ping().await?;
    Ok(())
}
