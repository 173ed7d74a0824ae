//! A room with enough connections on one worker that a message which comes alone is sent to them in slices.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use tidings_harness::{Client, ClientError, Stack};

use crate::hearing::{QUIET_PERIOD, WAIT_TIMEOUT};

/// A slice has 128 connections.
const CONNECTIONS: usize = 300;
/// A message is sent in slices if the room got nothing for 100 ms.
const QUIET_TIME: Duration = Duration::from_millis(150);
const LONE_MESSAGES: usize = 4;
const MAX_CONCURRENT_JOINS: usize = 32;
const MESSAGES: usize = 20;

/// Connects and joins. Also returns the seq up to which the connection has received everything.
async fn connect_and_join(stack: &Stack, user: &str, room: &str) -> Result<(Client, u64)> {
    let client = stack.connect(user).await?;
    let joined_seq = client.join_and_catch_up(room).await?.seq;
    Ok((client, joined_seq))
}

/// Sends messages one at a time, so that each is sent in slices. Returns the seq of the last one.
async fn send_one_by_one(client: &Client, room: &str) -> Result<u64> {
    let mut last = 0;
    for number in 0..LONE_MESSAGES {
        tokio::time::sleep(QUIET_TIME).await;
        last = client.send(room, &number.to_string()).await?.seq;
    }
    Ok(last)
}

/// Sends messages at the same time. Most of them arrive while the first one is being sent in slices.
async fn send_together(client: &Client, room: &str) -> Result<()> {
    let texts: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    try_join_all(texts.iter().map(|text| client.send(room, text))).await?;
    Ok(())
}

/// Checks that the client receives each event after `position` once and in order, and nothing more. The last event is
/// `last`, or the removal of a member if `last` is `None`.
async fn receive_all(client: &Client, room: &str, mut position: u64, last: Option<u64>) -> Result<()> {
    loop {
        let event = client.next_of_log(WAIT_TIMEOUT).await?;
        ensure!(event.log_position() == Some((room, position + 1)), "{event:?} after {position}");
        position += 1;
        if last.map_or(event.kind() == "member:removed", |last| position == last) {
            break;
        }
    }
    match client.next_of_log(QUIET_PERIOD).await {
        Err(ClientError::Silent(_)) => Ok(()),
        other => bail!("{other:?} after {position}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_removed_from_large_room_gets_nothing_after_it() -> Result<()> {
    let mut builder = Stack::builder().gateway_env("TIDINGS_WORKERS", 1);
    for setting in ["MESSAGES_PER_SECOND", "MESSAGES_BURST", "JOINS_PER_SECOND", "CONNECTIONS_PER_USER"] {
        builder = builder.gateway_env(&format!("TIDINGS_{setting}"), 10_000);
    }
    let stack = builder.start().await?;
    let http = stack.http("alice");
    let room = http.new_room(&["bob", "carol"]).await?;
    let alice = stack.connect("alice").await?;
    // Both users have connections in each slice.
    let users = ["bob", "carol"].into_iter().cycle().take(CONNECTIONS);
    let connecting = users.clone().map(|user| connect_and_join(&stack, user, &room));
    let receivers: Vec<(Client, u64)> =
        stream::iter(connecting).buffered(MAX_CONCURRENT_JOINS).try_collect().await?;
    send_one_by_one(&alice, &room).await?;
    tokio::time::sleep(QUIET_TIME).await;
    let (sent, removed) = tokio::join!(send_together(&alice, &room), http.remove_member(&room, "carol"));
    sent?;
    removed?.expect(200);
    let last = send_one_by_one(&alice, &room).await?;
    try_join_all(users.zip(&receivers).map(async |(user, (client, joined_seq))| {
        let last = (user == "bob").then_some(last);
        receive_all(client, &room, *joined_seq, last).await.context(user)
    }))
    .await?;
    Ok(())
}
