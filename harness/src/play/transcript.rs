//! Conversations as files: JSON lines `{at_ms, room, user, event, text?}`, in order of time.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The action of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sends a message.
    Say(String),
    /// Connects.
    Come,
    /// Disconnects.
    Go,
}

/// One line of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Time of the action, in milliseconds after the start.
    pub at_ms: u64,
    /// The action of the user.
    pub act: Act,
}

/// The conversation of one room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The lines of each user by user id, in order of time.
    pub people: BTreeMap<String, Vec<Line>>,
}

#[derive(Deserialize)]
struct RawLine {
    at_ms: u64,
    room: String,
    user: String,
    event: String,
    text: Option<String>,
}

/// Reads the conversations in these files; returns them by room name.
///
/// # Errors
/// When a file cannot be read or a line is malformed; with the file and line.
pub fn read(files: &[impl AsRef<Path>]) -> Result<BTreeMap<String, Conversation>> {
    let mut rooms = BTreeMap::new();
    for file in files {
        let file = file.as_ref();
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            add_line(&mut rooms, line).with_context(|| format!("{} line {}", file.display(), number + 1))?;
        }
    }
    Ok(rooms)
}

fn add_line(rooms: &mut BTreeMap<String, Conversation>, line: &str) -> Result<()> {
    let raw: RawLine = serde_json::from_str(line)?;
    let act = match (raw.event.as_str(), raw.text) {
        ("message", Some(text)) => Act::Say(text),
        ("join", _) => Act::Come,
        ("leave", _) => Act::Go,
        (event, _) => bail!("{event} is not message (with a text), join or leave"),
    };
    let conversation = rooms.entry(raw.room).or_default();
    let lines = conversation.people.entry(user_id(&raw.user)).or_default();
    lines.push(Line { at_ms: raw.at_ms, act });
    Ok(())
}

/// Changes a name into a valid user id: 1 to 128 characters, no white space, no control characters, not `.` or `..`.
fn user_id(name: &str) -> String {
    let replace = |c: char| if c.is_whitespace() || c.is_control() { '_' } else { c };
    let id: String = name.chars().map(replace).take(128).collect();
    match id.as_str() {
        "" | "." | ".." => format!("_{id}"),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_grouped_by_room_and_user_in_order() {
        let mut rooms = BTreeMap::new();
        for line in [
            r#"{"at_ms":0,"room":"r","user":"|trey|","event":"message","text":"hi"}"#,
            r#"{"at_ms":5,"room":"r","user":"a b","event":"join"}"#,
            r#"{"at_ms":9,"room":"r","user":"|trey|","event":"leave"}"#,
        ] {
            add_line(&mut rooms, line).unwrap();
        }
        let people = &rooms["r"].people;
        assert_eq!(people.keys().collect::<Vec<_>>(), ["a_b", "|trey|"]);
        let said = Line { at_ms: 0, act: Act::Say("hi".to_owned()) };
        assert_eq!(people["|trey|"], [said, Line { at_ms: 9, act: Act::Go }]);
    }

    #[test]
    fn message_without_a_text_is_refused() {
        let line = r#"{"at_ms":0,"room":"r","user":"a","event":"message"}"#;
        assert!(add_line(&mut BTreeMap::new(), line).is_err());
    }
}
