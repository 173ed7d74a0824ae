//! A user who is online during a run and leaves at its end. Meanwhile many messages join the notifications that wait
//! for the user to leave. The user must be told of the last message of each room.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{World, http_clients};
use crate::http::Http;
use crate::play::history::{create_room, request_until_answered};
use crate::push::{Browser, PushNode};
use crate::webhooks::Receiver;

pub(super) const USER: &str = "leaver";
/// The messages that the user must be told of.
pub(super) const LAST_MESSAGES_SQL: &str =
    "SELECT room_id, max(seq) FROM messages WHERE sender_id = 'talker' GROUP BY room_id";
const SENDER: &str = "talker";
const ROOMS: usize = 3;
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// How long the user stays online after the last messages. The wait of earlier messages may end in this time.
const LAST_STAY: Duration = Duration::from_secs(6);
/// Longest time from the last messages until the user has left. Less than the 15 s that a message waits.
const MAX_LAST_ROUND: Duration = Duration::from_secs(12);

pub(super) struct LeavingUser {
    pub browser: Browser,
    /// Ends when the user has left.
    pub talk: JoinHandle<Result<()>>,
}

impl LeavingUser {
    /// Registers the browser of the user, and begins to talk until `stop` is set.
    pub async fn start(
        world: &World,
        node: &PushNode,
        service: &Receiver,
        stop: watch::Receiver<bool>,
    ) -> Result<LeavingUser> {
        world.stack.http(USER).my_rooms("").await?.expect(200);
        let browser = Browser::subscribe(service, USER)?;
        node.register(&world.stack, USER, &browser).await?;
        let (sender, mut rooms) = (http_clients(world, SENDER), Vec::new());
        for number in 0..ROOMS {
            let members = vec![json!({ "user": USER })];
            rooms.push(create_room(&sender, &format!("left {number}"), members).await?.0);
        }
        let talk = tokio::spawn(talk(rooms, sender, http_clients(world, USER), stop));
        Ok(LeavingUser { browser, talk })
    }
}

/// Sends messages to the rooms of an online user, who leaves after the last of them. Only messages of the last seconds
/// before that must be told, so the last round is repeated until it is fast enough.
async fn talk(
    rooms: Vec<String>,
    sender: Vec<Http>,
    user: Vec<Http>,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    for round in 0_u64.. {
        let is_last = *stop.borrow();
        post(&user, "/presence", json!({ "status": "online" })).await?;
        let (begun, mut is_stored) = (Instant::now(), true);
        for room in &rooms {
            let form = json!({ "client_id": round.to_string(), "content": format!("round {round}") });
            is_stored &= post(&sender, &format!("/rooms/{room}/messages"), form).await? != 202;
        }
        if is_last {
            sleep(LAST_STAY).await;
            post(&user, "/presence", json!({ "status": "away" })).await?;
            if is_stored && begun.elapsed() < MAX_LAST_ROUND {
                break;
            }
        }
        sleep(ROUND_PAUSE).await;
    }
    Ok(())
}

/// Posts until a node answers. Returns the status, which is that of a success.
async fn post(nodes: &[Http], path: &str, form: serde_json::Value) -> Result<u16> {
    let send = |http: Http| {
        let form = form.clone();
        async move { http.post(path, form).await }
    };
    let answer = request_until_answered(nodes, path, send).await?;
    ensure!([200, 201, 202, 204].contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    Ok(answer.status)
}
