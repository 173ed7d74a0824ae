//! Continuous load on a system during faults: clients send and receive through both gateways, read history over HTTP,
//! and open new connections. The load stops when the value is dropped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tidings_harness::{Client, ClientError, Http, Stack, clock};
use tokio::task::JoinSet;

const SEND_INTERVAL: Duration = Duration::from_millis(50);
const READ_INTERVAL: Duration = Duration::from_millis(250);
const CONNECT_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// The running load.
pub struct Load {
    _tasks: JoinSet<()>,
    pub room: String,
}

impl Load {
    /// Starts the load.
    ///
    /// # Errors
    /// When the room cannot be created.
    pub async fn begin(stack: &Stack) -> Result<Load> {
        let room = stack.http("ann").new_room(&["ben"]).await?;
        let mut tasks = JoinSet::new();
        for (number, user) in ["ann", "ben"].into_iter().enumerate() {
            let (ws, token) = (stack.gateway(number).ws(), stack.token(user));
            tasks.spawn(keep_talking(ws.clone(), token, room.clone()));
            tasks.spawn(connect_and_close(ws, stack.token("eve")));
        }
        tasks.spawn(keep_reading(stack.http("ann"), room.clone()));
        Ok(Load { _tasks: tasks, room })
    }
}

async fn keep_talking(ws: String, token: String, room: String) {
    loop {
        if let Ok(client) = Client::connect(&ws, &token).await {
            let client = Arc::new(client);
            tokio::select! {
                () = keep_sending(&client, &room) => {}
                () = until_closed(&client) => {}
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn keep_sending(client: &Client, room: &str) {
    if client.join_and_catch_up(room).await.is_err() {
        return;
    }
    loop {
        let id = clock::client_id();
        // `attempt: 1`, because a repetition would need a look-up in PostgreSQL, which may be away.
        let fields =
            json!({"room": room, "client_id": id, "content": "hello", "ack": "accepted", "attempt": 1});
        match client.send_with(fields).await {
            Ok(_) | Err(ClientError::Answered(_)) => {}
            Err(_) => return,
        }
        tokio::time::sleep(SEND_INTERVAL).await;
    }
}

async fn until_closed(client: &Client) {
    client.until_closed().await.ok();
}

async fn connect_and_close(ws: String, token: String) {
    let mut connecting = JoinSet::new();
    loop {
        let (ws, token) = (ws.clone(), token.clone());
        connecting.spawn(async move {
            if let Ok(client) = Client::connect(&ws, &token).await {
                client.close().await.ok();
            }
        });
        while connecting.try_join_next().is_some() {}
        tokio::time::sleep(CONNECT_INTERVAL).await;
    }
}

/// Requests history again and again. Does not wait for answers, so that a request that hangs does not delay the others.
async fn keep_reading(http: Http, room: String) {
    let http = Arc::new(http);
    let mut requests = JoinSet::new();
    loop {
        let (http, room) = (http.clone(), room.clone());
        requests.spawn(async move { http.messages(&room, "?limit=1").await.is_ok() });
        while requests.try_join_next().is_some() {}
        tokio::time::sleep(READ_INTERVAL).await;
    }
}
