//! The two ways to change a message, so that a test can go both: by frame and by HTTP.

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{
    Stack,
    client::{Client, ClientError},
    http::{Http, encode},
};

pub const EDIT: &str = "message:edit";
pub const DELETE: &str = "message:delete";
pub const ADD: &str = "reaction:add";
pub const REMOVE: &str = "reaction:remove";
/// All four, each with what it takes besides room and seq.
pub const CHANGES: [(&str, &str); 4] = [
    (EDIT, r#"{"content":"edited"}"#),
    (ADD, r#"{"emoji":"👍"}"#),
    (REMOVE, r#"{"emoji":"👍"}"#),
    (DELETE, "{}"),
];

/// One user on one way.
pub enum Way {
    Frame(Box<Client>),
    Http(Http),
}

/// What a change was answered with: seq, stage, duplicate and client id, or code, reason and field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Ack { seq: u64, stage: String, duplicate: bool, client_id: String, at: String },
    Refused { code: String, reason: String, field: String },
}

impl Told {
    /// The seq of the change's own event.
    ///
    /// # Errors
    /// When it was refused.
    pub fn seq(&self) -> Result<u64> {
        match self {
            Told::Ack { seq, .. } => Ok(*seq),
            refused => bail!("{refused:?}"),
        }
    }

    /// The code of a refusal, or `ok`.
    pub fn code(&self) -> &str {
        match self {
            Told::Ack { .. } => "ok",
            Told::Refused { code, .. } => code,
        }
    }
}

/// The same user both ways.
pub async fn both(stack: &Stack, user: &str) -> Result<[Way; 2]> {
    Ok([Way::Frame(Box::new(stack.connect(user).await?)), Way::Http(stack.http(user))])
}

impl Way {
    /// Makes a change, with what it takes besides room and seq.
    ///
    /// # Errors
    /// When there was no answer of the protocol.
    pub async fn change(&self, kind: &str, room: &str, seq: u64, fields: Value) -> Result<Told> {
        match self {
            Way::Frame(client) => match client.change(kind, room, seq, fields).await {
                Ok(ack) => Ok(Told::Ack {
                    seq: ack.seq,
                    stage: ack.stage,
                    duplicate: ack.duplicate,
                    client_id: ack.client_id.unwrap_or_default(),
                    at: ack.at,
                }),
                Err(ClientError::Answered(error)) => Ok(Told::Refused {
                    code: error.code,
                    reason: error.reason.unwrap_or_default(),
                    field: error.field.unwrap_or_default(),
                }),
                Err(error) => Err(error.into()),
            },
            Way::Http(http) => by_http(http, kind, room, seq, fields).await,
        }
    }
}

async fn by_http(http: &Http, kind: &str, room: &str, seq: u64, mut fields: Value) -> Result<Told> {
    let message = format!("/rooms/{}/messages/{seq}", encode(room));
    let emoji = fields.as_object_mut().and_then(|fields| fields.remove("emoji"));
    let emoji = emoji.as_ref().and_then(Value::as_str).map(encode).unwrap_or_default();
    let (method, path) = match kind {
        EDIT => (Method::PATCH, message),
        DELETE => (Method::DELETE, message),
        ADD => (Method::PUT, format!("{message}/reactions/{emoji}")),
        _ => (Method::DELETE, format!("{message}/reactions/{emoji}")),
    };
    // The body is left out where it says nothing.
    let body = (fields != json!({})).then_some(fields);
    let answer = http.request(method, &path, body).await?;
    let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
    Ok(match answer.status {
        200 => Told::Ack {
            seq: answer.body["seq"].as_u64().unwrap_or_default(),
            stage: text("stage"),
            duplicate: answer.body["duplicate"].as_bool().unwrap_or_default(),
            client_id: text("client_id"),
            at: text("at"),
        },
        _ => Told::Refused { code: text("code"), reason: text("reason"), field: text("field") },
    })
}
