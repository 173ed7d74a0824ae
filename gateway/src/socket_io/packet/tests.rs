//! Tests which texts are packets, and that encoding and decoding fit together.

use proptest::prelude::*;

use super::*;

fn arguments<'a>(packet: &SocketIoPacket<'a>) -> Vec<&'a str> {
    packet.arguments.iter().map(|argument| argument.get()).collect()
}

#[test]
fn connect_and_disconnect_name_their_namespace() {
    let connect = decode(r#"0{"token":"123"}"#).unwrap();
    assert_eq!((connect.kind, connect.namespace), (PacketKind::Connect, "/"));
    assert_eq!(connect.data.map(RawValue::get), Some(r#"{"token":"123"}"#));
    assert!(decode("0").unwrap().data.is_none());
    for text in ["0/custom", "0/custom,"] {
        assert_eq!(decode(text).unwrap().namespace, "/custom", "{text}");
    }
    assert_eq!(decode(r#"0/custom,{"a":1}"#).unwrap().data.map(RawValue::get), Some(r#"{"a":1}"#));
    let disconnect = decode("1/custom,").unwrap();
    assert_eq!((disconnect.kind, disconnect.namespace), (PacketKind::Disconnect, "/custom"));
}

#[test]
fn event_and_ack_have_id_and_arguments() {
    let event = decode(r#"2456["message-with-ack",1,"2",{"3":[false]}]"#).unwrap();
    assert_eq!((event.kind, event.id), (PacketKind::Event, Some(456)));
    assert_eq!(arguments(&event), [r#""message-with-ack""#, "1", r#""2""#, r#"{"3":[false]}"#]);
    let event = decode(r#"2/custom,7["x"]"#).unwrap();
    assert_eq!((event.namespace, event.id), ("/custom", Some(7)));
    assert_eq!(decode("2[7]").unwrap().arguments.len(), 1, "the name may be a number");
    let ack = decode("3/custom,13[]").unwrap();
    assert_eq!((ack.kind, ack.id, ack.arguments.len()), (PacketKind::Ack, Some(13), 0));
}

#[test]
fn binary_packets_count_their_attachments() {
    let text = r#"52-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let event = decode(text).unwrap();
    assert_eq!((event.kind, event.attachments, event.id), (PacketKind::BinaryEvent, 2, None));
    let text = r#"51-/custom,789["message-with-ack",{"_placeholder":true,"num":0}]"#;
    let event = decode(text).unwrap();
    assert_eq!((event.attachments, event.namespace, event.id), (1, "/custom", Some(789)));
}

#[test]
fn text_of_wrong_format_is_no_packet() {
    let cases = [
        ("", PacketError::UnknownKind),
        ("abc", PacketError::UnknownKind),
        ("7[]", PacketError::UnknownKind),
        (r#"-1["x"]"#, PacketError::UnknownKind),
        ("é", PacketError::UnknownKind),
        (r#"5["x"]"#, PacketError::BadAttachments),
        (r#"5-["x"]"#, PacketError::BadAttachments),
        (r#"51["x"]"#, PacketError::BadAttachments),
        (r#"511-["x"]"#, PacketError::BadAttachments),
        (r#"2-1["x"]"#, PacketError::BadPayload),
        (r#"2999999999999999999999["x"]"#, PacketError::BadId),
        ("2", PacketError::BadPayload),
        ("2[]", PacketError::BadPayload),
        (r#"2{"x":1}"#, PacketError::BadPayload),
        (r#"2["x""#, PacketError::BadPayload),
        (r#"2["x"]]"#, PacketError::BadPayload),
        ("2[{}]", PacketError::BadPayload),
        ("2[null]", PacketError::BadPayload),
        (r#"2["connect"]"#, PacketError::BadPayload),
        (r#"2["disconnect",1]"#, PacketError::BadPayload),
        (r#"2["\u0063onnect"]"#, PacketError::BadPayload),
        (r#"3{"x":1}"#, PacketError::BadPayload),
        ("0[]", PacketError::BadPayload),
        (r#"0"x""#, PacketError::BadPayload),
        ("1{}", PacketError::BadPayload),
        ("4", PacketError::BadPayload),
    ];
    for (text, error) in cases {
        assert_eq!(decode(text).err(), Some(error), "{text}");
    }
    let long = format!("0/{},", "x".repeat(MAX_NAMESPACE_BYTES));
    assert_eq!(decode(&long).err(), Some(PacketError::LongNamespace));
}

fn encode(packet: &SocketIoPacket<'_>) -> String {
    let mut buffer: Vec<u8> = Vec::new();
    append_header(&mut buffer, packet.kind, packet.attachments, packet.namespace, packet.id);
    buffer.extend_from_slice(format!("[{}]", arguments(packet).join(",")).as_bytes());
    String::from_utf8(buffer).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoded_event_decodes_to_the_same_event(
        attachments in proptest::option::of(0..=MAX_ATTACHMENTS),
        namespace in proptest::option::of("/[a-z0-9/_-]{0,20}"),
        id in proptest::option::of(any::<u64>()),
        name in "[a-z:]{1,20}",
        values in proptest::collection::vec(any::<(String, i32)>(), 0..4),
    ) {
        let name = serde_json::to_string(&format!("event {name}")).unwrap();
        let values = values.iter().map(|value| serde_json::to_string(value).unwrap());
        let texts: Vec<String> = std::iter::once(name).chain(values).collect();
        let raw = texts.iter().map(|text| serde_json::from_str::<&RawValue>(text).unwrap());
        let packet = SocketIoPacket {
            kind: if attachments.is_some() { PacketKind::BinaryEvent } else { PacketKind::Event },
            attachments: attachments.unwrap_or(0),
            namespace: namespace.as_deref().unwrap_or(MAIN_NAMESPACE),
            id,
            data: None,
            arguments: raw.collect(),
        };
        let text = encode(&packet);
        let decoded = decode(text.strip_prefix('4').unwrap()).unwrap();
        prop_assert_eq!((decoded.kind, decoded.attachments), (packet.kind, packet.attachments));
        prop_assert_eq!((decoded.namespace, decoded.id), (packet.namespace, packet.id));
        prop_assert_eq!(arguments(&decoded), arguments(&packet));
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in "[0-6]?[0-9]{0,3}-?(/[a-z]{0,3},?)?[0-9]{0,3}.{0,40}") {
        if let Ok(packet) = decode(&text) {
            prop_assert!(packet.namespace.starts_with('/') && packet.attachments <= MAX_ATTACHMENTS);
            prop_assert!(packet.kind.is_binary() || packet.attachments == 0);
        }
    }
}
