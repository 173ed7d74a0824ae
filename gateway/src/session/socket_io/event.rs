//! Turns the events of clients into commands, plainly or by the dialect of an application.

use serde_json::Value;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::ClientId,
    protocol::{Parsed, client},
};

use super::ConnectedNamespace;
use crate::{
    commands,
    socket_io::{
        NamespaceSocket, ack_reference,
        dialect::{Dialect, EventAction},
        packet::SocketIoPacket,
    },
};

/// Why events with attachments are refused.
const NO_BINARY: &str = "binary data is not supported; send JSON";

impl ConnectedNamespace {
    /// Runs an event as a command. The answer becomes the ack of the event.
    pub(super) fn run_event(&mut self, packet: &SocketIoPacket<'_>, max_message_chars: usize) {
        let parsed = match self.socket.dialect() {
            Some(dialect) => match translate(dialect, &self.socket, packet) {
                EventAction::Run { command, reference } => {
                    let parsed = client::parse(&command, max_message_chars);
                    Parsed { reference: Some(reference), ..parsed }
                }
                EventAction::Refuse { refusal, reference } => {
                    Parsed { reference: Some(reference), ..Parsed::refused(refusal) }
                }
                EventAction::Send(packets) => return self.socket.send_packets(&packets),
            },
            None => {
                let parsed = parse_event(packet, max_message_chars);
                let reference = packet.id.map(ack_reference).or(parsed.reference);
                Parsed { reference, ..parsed }
            }
        };
        commands::receive(&self.chat, parsed);
    }
}

/// What an event means in a dialect.
fn translate(dialect: &Dialect, socket: &NamespaceSocket, packet: &SocketIoPacket<'_>) -> EventAction {
    if packet.kind.is_binary() {
        return EventAction::refuse(packet.id, NO_BINARY);
    }
    let items = packet.arguments.iter().map(|argument| serde_json::from_str(argument.get()));
    match items.collect::<Result<Vec<Value>, _>>().as_deref() {
        Ok([name, arguments @ ..]) => {
            let name = name.as_str().map_or_else(|| name.to_string(), ToOwned::to_owned);
            let fresh_client_id = || ClientId::generate().as_str().to_owned();
            dialect.event(&name, arguments, packet.id, socket.user(), fresh_client_id)
        }
        _ => EventAction::refuse(packet.id, "an argument cannot be read"),
    }
}

/// Parses an event as a command. The name of the event is the command's type, and its argument has the fields.
fn parse_event(packet: &SocketIoPacket<'_>, max_message_chars: usize) -> Parsed {
    let refused = |message| Parsed::refused(Refusal::new(ErrorCode::BadRequest, message));
    match packet.arguments.as_slice() {
        _ if packet.kind.is_binary() => refused(NO_BINARY),
        [kind] => client::parse_event(kind, "{}", max_message_chars),
        [kind, object] => client::parse_event(kind, object.get(), max_message_chars),
        _ => refused("an event has one object besides its name"),
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::protocol::{Command, RoomCommand};

    use super::*;
    use crate::socket_io::packet;

    fn parse(text: &str) -> Parsed {
        parse_event(&packet::decode(text).unwrap(), 1_000)
    }

    #[test]
    fn event_with_one_object_is_a_command() {
        let text = r#"2["message:send",{"room":"a","client_id":"c","content":"x"}]"#;
        assert!(matches!(parse(text).frame, Ok(Command::InRoom { command: RoomCommand::Send(_), .. })));
        assert!(matches!(parse(r#"27["ping"]"#).frame, Ok(Command::Ping)));
    }

    #[test]
    fn other_events_are_refused_as_bad_request() {
        for text in [
            r#"2["dance",{}]"#,
            r#"2["ping",{},{}]"#,
            r#"2["ping",7]"#,
            "2[7,{}]",
            r#"51-["ping",{"_placeholder":true,"num":0}]"#,
        ] {
            assert_eq!(parse(text).frame.unwrap_err().code, ErrorCode::BadRequest, "{text}");
        }
    }
}
