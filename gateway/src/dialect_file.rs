//! Reads the file of a dialect, and shows what the dialect makes of events and frames. Uses the file system, but no
//! network.

use std::{fmt::Write, fs, path::Path};

use serde_json::{Value, json};

use crate::socket_io::dialect::{Dialect, DialectPacket, EventAction, PacketReceivers};

/// The user whose events are tried.
const TRIED_USER: &str = "you";
/// The ack id of events that are tried.
const TRIED_ACK: u64 = 1;
/// Shown in place of a new client id.
const TRIED_CLIENT_ID: &str = "new-client-id";

/// Reads a dialect. The error names the file and all lines that are wrong.
pub fn read(path: &Path) -> Result<Dialect, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Dialect::parse(&text).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("{}: {error}", path.display()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Shows what becomes of an event of a client with an ack callback, and of a frame of the server if `event` is the type
/// of one. `answer` is the frame that answers the event's command. All values are JSON.
pub fn describe(
    dialect: &Dialect,
    event: &str,
    arguments: &[String],
    answer: Option<&str>,
) -> Result<String, String> {
    let read = |text: &str| serde_json::from_str(text).map_err(|error| format!("{text} is no JSON: {error}"));
    let arguments: Vec<Value> = arguments.iter().map(|argument| read(argument)).collect::<Result<_, _>>()?;
    let mut text = String::new();
    let fresh_client_id = || TRIED_CLIENT_ID.to_owned();
    let action = dialect.event(event, &arguments, Some(TRIED_ACK), Some(TRIED_USER), fresh_client_id);
    let frame = match arguments.as_slice() {
        [Value::Object(fields)] => {
            let mut frame = Value::Object(fields.clone());
            frame["type"] = event.into();
            show_packets(&dialect.packets(frame.to_string().as_bytes(), Some(TRIED_USER)))
        }
        _ => String::new(),
    };
    let mut show = |title: &str, shown: &str| {
        let shown = if shown.is_empty() { "nothing" } else { shown.trim_end() };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{title}\n{shown}");
    };
    match action {
        EventAction::Run { command, reference } => {
            show("the event of a client becomes the command", &command);
            if let Some(answer) = answer {
                let mut answer: Value = read(answer)?;
                if !answer.is_object() {
                    return Err("the answer must be a frame, such as {\"type\":\"ok\"}".to_owned());
                }
                answer["ref"] = reference.into();
                let packets = dialect.packets(answer.to_string().as_bytes(), Some(TRIED_USER));
                show("its answer becomes", &show_packets(&packets));
            }
        }
        EventAction::Send(packets) => {
            show("the event of a client is answered at once", &show_packets(&packets))
        }
        // It is a frame of the server only.
        EventAction::Refuse { .. } if !frame.is_empty() => {}
        EventAction::Refuse { refusal, .. } => {
            let refused = json!({ "code": refusal.code, "message": refusal.message });
            show("the event of a client is refused", &refused.to_string());
        }
    }
    if !frame.is_empty() {
        show("the frame of the server becomes", &frame);
    }
    Ok(text)
}

/// The packets, one a line.
fn show_packets(packets: &[DialectPacket]) -> String {
    let line = |packet: &DialectPacket| {
        let kind = if packet.ack.is_some() { "callback" } else { "event" };
        let receivers = match &packet.receivers {
            PacketReceivers::Everybody => String::new(),
            PacketReceivers::AllBut(user) => format!(" (not to {user})"),
            PacketReceivers::Only(user) => format!(" (only to {user})"),
        };
        format!("{kind} {}{receivers}\n", packet.json)
    };
    packets.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect() -> Dialect {
        let text = r#"
ack_error = ["$code"]
[[client]]
event = "say"
command = { type = "message:send", room = "$1", content = "$2" }
ack = ["$seq"]
[[server]]
frame = "message:new"
to = "others"
emit = ["said", "$content"]
"#;
        Dialect::parse(text).unwrap()
    }

    #[test]
    fn event_and_its_answer_are_described() {
        let arguments = ["\"r\"".to_owned(), "\"hi\"".to_owned()];
        let answer = r#"{"type":"ack","seq":3}"#;
        let text = describe(&dialect(), "say", &arguments, Some(answer)).unwrap();
        assert!(text.contains(r#""client_id":"new-client-id""#) && text.contains("callback [3]"), "{text}");
        let refused = describe(&dialect(), "sing", &[], None).unwrap();
        assert!(refused.contains("no rule"), "{refused}");
        assert!(describe(&dialect(), "say", &["{".to_owned()], None).is_err());
    }

    #[test]
    fn frame_is_described_with_its_receivers() {
        let frame = [r#"{"content":"hi","sender":{"id":"ann"}}"#.to_owned()];
        let text = describe(&dialect(), "message:new", &frame, None).unwrap();
        assert_eq!(text, "the frame of the server becomes\nevent [\"said\",\"hi\"] (not to ann)\n");
    }
}
