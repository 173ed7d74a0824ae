//! The protocol of a server: which frames a client sends, and which frames it waits for. Every measured server has such
//! a description, including ours, so that the load generator has one code path for all of them. Templates contain
//! `{token}`, `{user}`, `{room}`, `{ref}` (a number), `{client_id}` (a UUIDv7), `{text}` and `{seq}` (of the newest
//! delivery in the room). The frames of a server are distinguished by the [`Beginning`] of their payload.

pub mod beginning;

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use beginning::Beginning;

/// See the module. `examples` are the files beside the peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// Its name in the figures.
    pub name: String,
    /// Path and query of the WebSocket; a template of `{token}`, `{user}` and `{room}` (the first one).
    pub path: String,
    /// Headers of the handshake, templates as well.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// A text frame may hold several payloads, separated by line feeds.
    #[serde(default)]
    pub lines: bool,
    /// The exchanges before rooms are joined, in order.
    #[serde(default)]
    pub hello: Vec<Step>,
    /// The join, once per room; `None`: the path joins the room.
    pub join: Option<Step>,
    /// A message to a room; answered once with `ack`, if that is given.
    pub send: String,
    /// How a delivered message begins.
    pub delivery: Beginning,
    /// How the answer to a `send` begins; `{ref}` follows at once, if it is not in the text.
    pub ack: Option<Beginning>,
    /// How answers begin that refuse a `send`, or report an error.
    #[serde(default)]
    pub errors: Vec<Beginning>,
    /// Recognises a refusal by an overloaded server. The generator backs off when it gets one.
    #[serde(default)]
    pub overload: Option<Overload>,
    /// A ping in the server's own frames (besides WebSocket pings), and the answer.
    pub ping: Option<(String, String)>,
    /// The user types in a room.
    pub typing: Option<String>,
    /// The user has read a room up to `{seq}`.
    pub read: Option<String>,
    /// The user sets a presence; `{status}` is `online` or `away`.
    pub presence: Option<String>,
    /// The text before the seq of a delivered message, for `{seq}`.
    pub seq: Option<String>,
}

/// The refusal of an overloaded server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// A text that only such a refusal contains.
    pub sign: String,
    /// The text right before the reference of the refused `send`.
    pub before_ref: String,
}

/// One exchange: sends a frame, if any, then waits for a payload with this beginning.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A template.
    pub send: Option<String>,
    /// How the awaited payload begins.
    pub until: Beginning,
}

impl Dialect {
    /// Reads a description from a JSON file.
    ///
    /// # Errors
    /// When it cannot be read, or is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no description of frames", path.display()))
    }
}

/// Fills values into a template; other names stay.
#[must_use]
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = template.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}
