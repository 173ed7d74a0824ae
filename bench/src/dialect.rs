//! The protocol of a server: which frames a client sends, and for which frames it waits. Every measured server,
//! including Tidings, has such a description, so the load generator runs the same code for all of them. Frames to send
//! are templates with `{token}`, `{user}`, `{room}`, `{ref}` (a number), `{client_id}` (a UUIDv7), `{text}` and `{seq}`
//! (of the newest delivery in the room). The kind of a received frame is recognised by its [`PayloadPrefix`].

pub mod payload_prefix;

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use payload_prefix::PayloadPrefix;

/// The protocol of a server. Examples are in `bench/peers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// The server's name in the figures.
    pub name: String,
    /// Path and query of the WebSocket: a template with `{token}`, `{user}` and `{room}` (the user's first room).
    pub path: String,
    /// Headers of the handshake, whose values are templates.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Whether a text frame may hold several payloads, separated by newlines.
    #[serde(default)]
    pub lines: bool,
    /// The exchanges after the handshake and before rooms are joined, in order.
    #[serde(default)]
    pub hello: Vec<Step>,
    /// The exchange that joins a room; `None` if the path joins the room.
    pub join: Option<Step>,
    /// The frame that sends a message to a room. If `ack` is given, the server answers each such frame with one.
    pub send: String,
    /// How a delivered message begins.
    pub delivery: PayloadPrefix,
    /// How the answer to a `send` begins. The reference is at `{ref}`, or follows the prefix if it has no `{ref}`.
    pub ack: Option<PayloadPrefix>,
    /// How frames begin that refuse a `send` or report an error.
    #[serde(default)]
    pub errors: Vec<PayloadPrefix>,
    /// How to recognise a refusal by an overloaded server. The load generator backs off after such a refusal.
    #[serde(default)]
    pub overload: Option<Overload>,
    /// A ping as a text frame of the server, and the client's answer. WebSocket pings are answered too.
    pub ping: Option<(String, String)>,
    /// The frame that reports that the user types in a room.
    pub typing: Option<String>,
    /// The frame that marks a room as read up to `{seq}`.
    pub read: Option<String>,
    /// The frame that sets the user's presence; `{status}` is `online` or `away`.
    pub presence: Option<String>,
    /// The text right before the seq in a delivery. The seq fills `{seq}` and shows the order of deliveries.
    pub seq: Option<String>,
}

/// The refusal of an overloaded server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// A text that only such refusals contain.
    pub sign: String,
    /// The text right before the reference of the refused `send`.
    pub before_ref: String,
}

/// One exchange: sends a frame, if any, then waits for a payload with this beginning.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The template of the frame to send.
    pub send: Option<String>,
    /// How the awaited payload begins.
    pub until: PayloadPrefix,
}

impl Dialect {
    /// Parses a description in JSON.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("the description of its frames")
    }

    /// Reads a description from a JSON file.
    ///
    /// # Errors
    /// When it cannot be read, or is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a description of frames", path.display()))
    }
}

/// Replaces each `{name}` of a template by its value. Names without a value stay as they are.
#[must_use]
pub fn fill_template(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = template.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}
