//! Dialects: a file maps the events of an existing application onto commands, and frames onto the events that its
//! clients know (docs/clients/DIALECTS.md). A dialect is read once and serves all connections of a node. It remembers only
//! long names of rooms. Pure: text in, text out.

mod answer;
mod commands;
mod document;
mod frames;
mod rooms;
mod rules;
mod template;
mod vocabulary;

use std::collections::HashMap;

use serde_json::Value;

pub use answer::{DialectPacket, PacketReceivers};
pub use commands::{DialectConnect, EventAction};
pub use document::DialectError;

use rules::DialectRules;

/// The dialect of one application.
#[derive(Debug, Default)]
pub struct Dialect {
    rules: DialectRules,
    /// The indices of the rules for each event, in the order of the file.
    client: HashMap<String, Vec<usize>>,
    /// The indices of the rules for each frame, in the order of the file.
    server: HashMap<String, Vec<usize>>,
}

impl Dialect {
    /// Reads the text of a file. Returns all errors that can be found at once, by line.
    pub fn parse(text: &str) -> Result<Self, Vec<DialectError>> {
        let document = document::read_document(text).map_err(|error| vec![error])?;
        let rules = DialectRules::read(&document)?;
        let client = index(rules.client.iter().map(|rule| &rule.event));
        let server = index(rules.server.iter().map(|rule| &rule.frame));
        Ok(Self { rules, client, server })
    }

    /// The name that a room gets if a join creates it; `None` if a join of this room does not create it.
    pub fn name_to_create(&self, room: &str) -> Option<String> {
        self.rules.rooms.name_to_create(room)
    }

    /// The numbers of the rules for events of clients, and for frames of the server.
    pub fn rule_counts(&self) -> (usize, usize) {
        (self.rules.client.len(), self.rules.server.len())
    }
}

fn index<'a>(names: impl Iterator<Item = &'a String>) -> HashMap<String, Vec<usize>> {
    let mut indices: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, name) in names.enumerate() {
        indices.entry(name.clone()).or_default().push(number);
    }
    indices
}

/// The name of a user as a value of a reference.
fn user_value(user: Option<&str>) -> Option<Value> {
    user.map(Value::from)
}

#[cfg(test)]
mod tests;
