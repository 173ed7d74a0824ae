//! The commands of the protocol as calls of the test client, each with its typed answer. A call fails if the server
//! answers with an error.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Ack, CaughtUp, Client, ClientError, Cursor, Joined, JoinedRoom, ServerFrame};

/// Timeout of the replay after a join.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(30);

impl Client {
    /// Joins a room at its head.
    pub async fn join(&self, room: &str) -> Result<JoinedRoom, ClientError> {
        self.join_one(json!({ "type": "room:join", "room": room })).await
    }

    /// Joins a room after a cursor.
    pub async fn join_after(&self, room: &str, after: &Cursor) -> Result<JoinedRoom, ClientError> {
        self.join_one(json!({ "type": "room:join", "room": room, "after": after })).await
    }

    /// Joins a room at its head and waits for its `room:caught_up`.
    pub async fn join_and_catch_up(&self, room: &str) -> Result<CaughtUp, ClientError> {
        self.join(room).await?;
        match self.wait_for("room:caught_up", REPLAY_TIMEOUT).await? {
            ServerFrame::CaughtUp(caught_up) if caught_up.room == room => Ok(caught_up),
            other => Err(unexpected("room:caught_up", &other)),
        }
    }

    /// Joins many rooms at their heads.
    pub async fn join_many(&self, rooms: &[&str]) -> Result<Joined, ClientError> {
        self.request_join(json!({ "type": "room:join", "rooms": rooms })).await
    }

    /// Joins the user's 200 most recently active rooms.
    pub async fn join_mine(&self) -> Result<Joined, ClientError> {
        self.request_join(json!({ "type": "room:join", "rooms": "mine" })).await
    }

    /// Leaves a room; returns `rooms` of the answer.
    pub async fn leave(&self, room: &str) -> Result<Value, ClientError> {
        let (_, mut answer) =
            self.ask_expecting("room:left", json!({ "type": "room:leave", "room": room })).await?;
        Ok(answer["rooms"].take())
    }

    /// Sends a message with a fresh client id.
    pub async fn send(&self, room: &str, content: &str) -> Result<Ack, ClientError> {
        self.send_as(room, &crate::clock::client_id(), content).await
    }

    /// Sends a message with this client id.
    pub async fn send_as(&self, room: &str, client_id: &str, content: &str) -> Result<Ack, ClientError> {
        let frame = json!({ "room": room, "client_id": client_id, "content": content });
        self.send_with(frame).await
    }

    /// Sends a message with these fields (`room`, `client_id`, `content`, …).
    pub async fn send_with(&self, mut fields: Value) -> Result<Ack, ClientError> {
        fields["type"] = json!("message:send");
        match self.ask_expecting("ack", fields).await? {
            (ServerFrame::Ack(ack), _) => Ok(ack),
            (other, _) => Err(unexpected("ack", &other)),
        }
    }

    /// Changes a message: `kind` is `message:edit`, `message:delete`, `reaction:add` or `reaction:remove`; `fields` are
    /// the fields besides room and seq.
    pub async fn change(
        &self,
        kind: &str,
        room: &str,
        seq: u64,
        mut fields: Value,
    ) -> Result<Ack, ClientError> {
        (fields["type"], fields["room"], fields["seq"]) = (json!(kind), json!(room), json!(seq));
        match self.ask_expecting("ack", fields).await? {
            (ServerFrame::Ack(ack), _) => Ok(ack),
            (other, _) => Err(unexpected("ack", &other)),
        }
    }

    /// Edits a message.
    pub async fn edit(&self, room: &str, seq: u64, content: &str) -> Result<Ack, ClientError> {
        self.change("message:edit", room, seq, json!({ "content": content })).await
    }

    /// Deletes a message.
    pub async fn delete(&self, room: &str, seq: u64) -> Result<Ack, ClientError> {
        self.change("message:delete", room, seq, json!({})).await
    }

    /// Adds a reaction.
    pub async fn react(&self, room: &str, seq: u64, emoji: &str) -> Result<Ack, ClientError> {
        self.change("reaction:add", room, seq, json!({ "emoji": emoji })).await
    }

    /// Marks the messages of a room as read up to `seq`.
    pub async fn read(&self, room: &str, seq: u64) -> Result<(), ClientError> {
        let frame = json!({ "type": "message:read", "room": room, "seq": seq });
        self.ask_expecting("ok", frame).await.map(|_| ())
    }

    /// Sends a ping; returns the server's time.
    pub async fn ping(&self) -> Result<String, ClientError> {
        let (_, answer) = self.ask_expecting("pong", json!({ "type": "ping" })).await?;
        Ok(answer["server_time"].as_str().unwrap_or_default().to_owned())
    }

    /// Renews the token; returns `expires_at` of the answer.
    pub async fn renew(&self, token: &str) -> Result<String, ClientError> {
        let (_, answer) = self.ask_expecting("auth:ok", json!({ "type": "auth", "token": token })).await?;
        Ok(answer["expires_at"].as_str().unwrap_or_default().to_owned())
    }

    /// Sends a binary message.
    pub async fn send_binary(&self, bytes: Vec<u8>) -> Result<(), ClientError> {
        self.send_message(Message::binary(bytes)).await
    }

    async fn join_one(&self, frame: Value) -> Result<JoinedRoom, ClientError> {
        let joined = self.request_join(frame).await?;
        let mut rooms = joined.rooms.into_iter();
        rooms.next().ok_or_else(|| ClientError::Broken("room:joined names no room".to_owned()))
    }

    async fn request_join(&self, frame: Value) -> Result<Joined, ClientError> {
        match self.ask_expecting("room:joined", frame).await? {
            (ServerFrame::Joined(joined), _) => Ok(joined),
            (other, _) => Err(unexpected("room:joined", &other)),
        }
    }

    async fn ask_expecting(&self, kind: &str, frame: Value) -> Result<(ServerFrame, Value), ClientError> {
        let answer = self.ask(frame).await?;
        if answer.0.kind() == kind { Ok(answer) } else { Err(unexpected(kind, &answer.0)) }
    }
}

fn unexpected(wanted: &str, got: &ServerFrame) -> ClientError {
    ClientError::Broken(format!("wanted {wanted}, got {got:?}"))
}
