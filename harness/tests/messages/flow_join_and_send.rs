//! A small chat room: connect, join, send, hear it confirmed, leave; and a connection that is turned away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, Stack, Token, TokenBy};

const PATIENCE: Duration = Duration::from_secs(20);

// Covers: connected, room:join, room:joined, message:send, ack, message:new, room:leave, room:left.
#[tokio::test]
async fn somebody_connects_joins_talks_is_confirmed_and_leaves() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let ann = stack.connect_at(0, "ann").await?;
    let ben = stack.connect_at(1, "ben").await?;
    ensure!(ann.connected().user == "ann" && !ann.connected().connection.is_empty());
    ensure!(ann.connected().heartbeat_ms == 25_000, "{:?}", ann.connected());

    // Joining is confirmed with what the room is.
    let joined = ann.join(&room).await?;
    ensure!((joined.room.as_str(), joined.members, joined.head.seq) == (room.as_str(), 2, 0), "{joined:?}");
    ann.wait_for("room:caught_up", PATIENCE).await?;
    ben.join_and_catch_up(&room).await?;

    // Sending is confirmed to the sender and heard by both, the sender included.
    let ack = ann.send(&room, "good morning").await?;
    ensure!((ack.seq, ack.stage.as_str(), ack.duplicate) == (1, "stored", false), "{ack:?}");
    for listener in [&ann, &ben] {
        let ServerFrame::Message(message) = listener.wait_for("message:new", PATIENCE).await? else {
            anyhow::bail!("not a message");
        };
        ensure!((message.content.as_str(), message.sender.id.as_str()) == ("good morning", "ann"));
        ensure!(Some(message.id.as_str()) == ack.id.as_deref() && message.seq == 1);
    }

    // After leaving nothing is heard; what was said meanwhile waits in history and in a later join.
    ensure!(ben.leave(&room).await? == json!([room]));
    ann.send(&room, "still there?").await?;
    ann.wait_for("message:new", PATIENCE).await?;
    ensure!(matches!(ben.next_event(Duration::from_secs(1)).await, Err(ClientError::Silent(_))));
    let after = tidings_harness::Cursor { epoch: joined.head.epoch.clone(), seq: 1 };
    ben.join_after(&room, &after).await?;
    let missed = ben.wait_for("message:new", PATIENCE).await?;
    ensure!(missed.place() == Some((room.as_str(), 2)), "{missed:?}");
    Ok(())
}

#[tokio::test]
async fn who_is_turned_away_learns_why_and_what_to_do() -> Result<()> {
    let stack = Stack::start().await?;
    let ws = stack.gateway(0).ws();
    let refused = Client::connect(&ws, "nonsense").await.err().context("let in")?;
    ensure!((refused.code(), refused.reason()) == ("unauthorized", "malformed"), "{refused}");
    let expired = Token::of("ann").ttl_s(-60).sign(stack.jwt_secret());
    let refused = Client::connect(&ws, &expired).await.err().context("let in")?;
    ensure!(refused.reason() == "expired", "{refused}");

    // A browser cannot see the answer to a handshake: it brings its token first and is told in a frame.
    let browser = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    let told = browser.ask(json!({"type": "auth", "token": expired})).await.err().context("let in")?;
    ensure!((told.code(), told.reason()) == ("unauthorized", "expired"), "{told}");
    ensure!(browser.until_closed().await?.code == Some(4401));

    // And a room that is not theirs does not exist for them, while the connection goes on.
    let room = stack.http("ann").new_room(&[]).await?;
    let eve = stack.connect("eve").await?;
    let refused = eve.join(&room).await.err().context("joined")?;
    ensure!(refused.code() == "not_found", "{refused}");
    let nowhere = eve.join("no-such-room").await.err().context("joined")?;
    ensure!(nowhere.code() == "not_found", "{nowhere}");
    eve.ping().await?;
    Ok(())
}
