//! Changes of messages by frame and by HTTP behind one interface, so that a test can run both.

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{
    System,
    client::{Client, ClientError},
    http::{Http, encode},
};

pub const EDIT: &str = "message:edit";
pub const DELETE: &str = "message:delete";
pub const ADD_REACTION: &str = "reaction:add";
pub const REMOVE_REACTION: &str = "reaction:remove";
/// All four changes, each with its fields besides room and seq.
pub const CHANGES: [(&str, &str); 4] = [
    (EDIT, r#"{"content":"edited"}"#),
    (ADD_REACTION, r#"{"emoji":"👍"}"#),
    (REMOVE_REACTION, r#"{"emoji":"👍"}"#),
    (DELETE, "{}"),
];

/// One user with one transport.
pub enum Transport {
    Frame(Box<Client>),
    Http(Http),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    Ack { seq: u64, stage: String, duplicate: bool, client_id: String, at: String },
    Refused { code: String, reason: String, field: String },
}

impl ChangeOutcome {
    /// The seq of the change's event.
    ///
    /// # Errors
    /// When the change was refused.
    pub fn seq(&self) -> Result<u64> {
        match self {
            ChangeOutcome::Ack { seq, .. } => Ok(*seq),
            refused => bail!("{refused:?}"),
        }
    }

    /// `ok`, or the code of the refusal.
    pub fn code(&self) -> &str {
        match self {
            ChangeOutcome::Ack { .. } => "ok",
            ChangeOutcome::Refused { code, .. } => code,
        }
    }
}

/// The same user with both transports.
pub async fn both_transports(stack: &impl System, user: &str) -> Result<[Transport; 2]> {
    Ok([Transport::Frame(Box::new(stack.connect(user).await?)), Transport::Http(stack.http(user))])
}

impl Transport {
    /// Makes a change; `fields` are its fields besides room and seq.
    ///
    /// # Errors
    /// When there was no answer in terms of the protocol.
    pub async fn change(&self, kind: &str, room: &str, seq: u64, fields: Value) -> Result<ChangeOutcome> {
        match self {
            Transport::Frame(client) => match client.change(kind, room, seq, fields).await {
                Ok(ack) => Ok(ChangeOutcome::Ack {
                    seq: ack.seq,
                    stage: ack.stage,
                    duplicate: ack.duplicate,
                    client_id: ack.client_id.unwrap_or_default(),
                    at: ack.at,
                }),
                Err(ClientError::Answered(error)) => Ok(ChangeOutcome::Refused {
                    code: error.code,
                    reason: error.reason.unwrap_or_default(),
                    field: error.field.unwrap_or_default(),
                }),
                Err(error) => Err(error.into()),
            },
            Transport::Http(http) => change_over_http(http, kind, room, seq, fields).await,
        }
    }
}

async fn change_over_http(
    http: &Http,
    kind: &str,
    room: &str,
    seq: u64,
    mut fields: Value,
) -> Result<ChangeOutcome> {
    let message = format!("/rooms/{}/messages/{seq}", encode(room));
    let emoji = fields.as_object_mut().and_then(|fields| fields.remove("emoji"));
    let emoji = emoji.as_ref().and_then(Value::as_str).map(encode).unwrap_or_default();
    let (method, path) = match kind {
        EDIT => (Method::PATCH, message),
        DELETE => (Method::DELETE, message),
        ADD_REACTION => (Method::PUT, format!("{message}/reactions/{emoji}")),
        _ => (Method::DELETE, format!("{message}/reactions/{emoji}")),
    };
    // Omits an empty body.
    let body = (fields != json!({})).then_some(fields);
    let answer = http.request(method, &path, body).await?;
    let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
    Ok(match answer.status {
        200 => ChangeOutcome::Ack {
            seq: answer.body["seq"].as_u64().unwrap_or_default(),
            stage: text("stage"),
            duplicate: answer.body["duplicate"].as_bool().unwrap_or_default(),
            client_id: text("client_id"),
            at: text("at"),
        },
        _ => ChangeOutcome::Refused { code: text("code"), reason: text("reason"), field: text("field") },
    })
}
