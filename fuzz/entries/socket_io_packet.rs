//! Decodes any UTF-8 as a Socket.IO packet. An accepted packet must keep its limits and contain valid JSON. Encoding
//! and decoding it again must return the same packet.

use serde_json::{Value, value::RawValue};
use tidings_gateway::socket_io::packet::{
    MAX_ATTACHMENTS, MAX_NAMESPACE_BYTES, PacketKind, SocketIoPacket, append_header, decode,
};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(packet) = decode(text) else { return };
    assert!(packet.attachments <= MAX_ATTACHMENTS && (packet.kind.is_binary() || packet.attachments == 0));
    assert!(packet.namespace.starts_with('/') && packet.namespace.len() <= MAX_NAMESPACE_BYTES);
    let is_event = matches!(packet.kind, PacketKind::Event | PacketKind::BinaryEvent);
    if is_event {
        let name: Option<Value> = serde_json::from_str(packet.arguments[0].get()).ok();
        assert!(!name.is_some_and(|name| name == "connect" || name == "disconnect"), "{text}");
        assert!(packet.data.is_none());
    }
    let encoded = encode(&packet);
    let again = encoded.strip_prefix('4').map(decode).expect("the type of the Engine.IO packet comes first");
    let again = again.unwrap_or_else(|error| panic!("{error}: {encoded}"));
    assert_eq!(fields(&packet), fields(&again), "{encoded}");
}

fn encode(packet: &SocketIoPacket<'_>) -> String {
    let mut buffer: Vec<u8> = Vec::new();
    append_header(&mut buffer, packet.kind, packet.attachments, packet.namespace, packet.id);
    let mut text = String::from_utf8(buffer).expect("a header is UTF-8");
    let has_arguments =
        !matches!(packet.kind, PacketKind::Connect | PacketKind::Disconnect | PacketKind::ConnectError);
    if has_arguments {
        text.push_str(&format!("[{}]", arguments(packet).join(",")));
    } else if let Some(data) = packet.data {
        text.push_str(data.get());
    }
    text
}

fn arguments<'a>(packet: &SocketIoPacket<'a>) -> Vec<&'a str> {
    packet.arguments.iter().map(|argument| argument.get()).collect()
}

type Fields<'a> = (PacketKind, usize, &'a str, Option<u64>, Option<&'a str>, Vec<&'a str>);

fn fields<'a>(packet: &SocketIoPacket<'a>) -> Fields<'a> {
    let data = packet.data.map(RawValue::get);
    (packet.kind, packet.attachments, packet.namespace, packet.id, data, arguments(packet))
}
