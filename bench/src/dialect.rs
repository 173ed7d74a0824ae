//! How a server is spoken to: which frames a client sends and what it waits for. Every server that is measured is
//! described like this, ours too, so that the load generator has one code path for all of them.
//!
//! Templates hold `{token}`, `{user}`, `{room}`, `{ref}` (a number), `{client_id}` (a UUIDv7), `{text}` and `{seq}`
//! (of the newest delivery seen in the room). What a server sends is told apart by how its payload begins.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// See the module. `examples` are the files beside the peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// What the figures call it.
    pub name: String,
    /// Path and query of the WebSocket; a template of `{token}`, `{user}` and `{room}` (the first one).
    pub path: String,
    /// Headers of the handshake, templates as well.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// What has to happen, in order, before rooms are joined.
    #[serde(default)]
    pub hello: Vec<Step>,
    /// Once per room; `None`: the path joins it.
    pub join: Option<Step>,
    /// A message to a room; answered once with `ack`, if that is given.
    pub send: String,
    /// How a delivered message begins.
    pub delivery: String,
    /// How the answer to a `send` begins; `{ref}` follows at once.
    pub ack: Option<String>,
    /// How the answer begins that refuses a `send`, or tells of a fault.
    #[serde(default)]
    pub errors: Vec<String>,
    /// Recognises a refusal by an overloaded server. The generator backs off when it gets one.
    #[serde(default)]
    pub overload: Option<Overload>,
    /// A ping in the server's own frames: how it begins, and what answers it (besides WebSocket pings).
    pub ping: Option<(String, String)>,
    /// I am typing in a room.
    pub typing: Option<String>,
    /// I have read a room up to `{seq}`.
    pub read: Option<String>,
    /// I am here or away; `{status}` is `online` or `away`.
    pub presence: Option<String>,
    /// What stands before the number of a delivered message in its room, for `{seq}`.
    pub seq: Option<String>,
}

/// The refusal of a server that has too much to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// A text that only such a refusal contains.
    pub sign: String,
    /// The text right before the reference of the refused `send`.
    pub before_ref: String,
}

/// One exchange: send (if anything), then wait for a payload that begins so.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A template.
    pub send: Option<String>,
    /// How the awaited payload begins.
    pub until: String,
}

impl Dialect {
    /// Reads a description from a JSON file.
    ///
    /// # Errors
    /// When it cannot be read, or is not of the form.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no description of frames", path.display()))
    }
}

/// Puts values into a template; names that are not given stay.
#[must_use]
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = template.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}
