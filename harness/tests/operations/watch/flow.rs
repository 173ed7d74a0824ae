//! People who use a system all the time, whatever happens to it: they send through both gateways and hear each other,
//! read history over HTTP, and come anew. They stop with the value.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tidings_harness::{Client, ClientError, Http, Stack, clock};
use tokio::task::JoinSet;

const BETWEEN_SENDS: Duration = Duration::from_millis(50);
const BETWEEN_READS: Duration = Duration::from_millis(250);
const BETWEEN_COMERS: Duration = Duration::from_millis(500);
const BEFORE_ANOTHER_TRY: Duration = Duration::from_millis(300);

/// The tasks of all of them.
pub struct Flow {
    _tasks: JoinSet<()>,
    /// The room that they talk in.
    pub room: String,
}

impl Flow {
    /// Has them begin.
    ///
    /// # Errors
    /// When they cannot get a room.
    pub async fn begin(stack: &Stack) -> Result<Flow> {
        let room = stack.http("ann").new_room(&["ben"]).await?;
        let mut tasks = JoinSet::new();
        for (number, user) in ["ann", "ben"].into_iter().enumerate() {
            let (ws, token) = (stack.gateway(number).ws(), stack.token(user));
            tasks.spawn(talk(ws.clone(), token, room.clone()));
            tasks.spawn(come_and_go(ws, stack.token("eve")));
        }
        tasks.spawn(read(stack.http("ann"), room.clone()));
        Ok(Flow { _tasks: tasks, room })
    }
}

async fn talk(ws: String, token: String, room: String) {
    loop {
        if let Ok(client) = Client::connect(&ws, &token).await {
            let client = Arc::new(client);
            // Until the connection is gone.
            tokio::select! {
                () = send(&client, &room) => {}
                () = hear(&client) => {}
            }
        }
        tokio::time::sleep(BEFORE_ANOTHER_TRY).await;
    }
}

async fn send(client: &Client, room: &str) {
    if client.join_and_catch_up(room).await.is_err() {
        return;
    }
    loop {
        let id = clock::client_id();
        // A first attempt: a repetition has to be looked for in PostgreSQL, which may be away.
        let fields =
            json!({"room": room, "client_id": id, "content": "hello", "ack": "accepted", "attempt": 1});
        match client.send_with(fields).await {
            Ok(_) | Err(ClientError::Answered(_)) => {}
            Err(_) => return,
        }
        tokio::time::sleep(BETWEEN_SENDS).await;
    }
}

async fn hear(client: &Client) {
    client.until_closed().await.ok();
}

async fn come_and_go(ws: String, token: String) {
    let mut coming = JoinSet::new();
    loop {
        let (ws, token) = (ws.clone(), token.clone());
        coming.spawn(async move {
            if let Ok(client) = Client::connect(&ws, &token).await {
                client.close().await.ok();
            }
        });
        while coming.try_join_next().is_some() {}
        tokio::time::sleep(BETWEEN_COMERS).await;
    }
}

/// Without waiting for answers, so that those that hang do not keep others from being asked.
async fn read(http: Http, room: String) {
    let http = Arc::new(http);
    let mut asking = JoinSet::new();
    loop {
        let (http, room) = (http.clone(), room.clone());
        asking.spawn(async move { http.messages(&room, "?limit=1").await.is_ok() });
        while asking.try_join_next().is_some() {}
        tokio::time::sleep(BETWEEN_READS).await;
    }
}
