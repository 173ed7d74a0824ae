//! Tests of dialects: the rules of the format by small files, and the files that are shipped by example frames.

mod shipped;

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(text: &str) -> Dialect {
    Dialect::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The command of an event with an ack id, and its `ref`.
fn run(dialect: &Dialect, event: &str, arguments: Value) -> (Value, String) {
    let arguments = arguments.as_array().unwrap().clone();
    match dialect.event(event, &arguments, Some(7), Some("ann"), || "fresh".to_owned()) {
        EventAction::Run { command, reference } => (serde_json::from_str(&command).unwrap(), reference),
        other => panic!("{event}: {other:?}"),
    }
}

/// The packets of a frame for one connection of `ann`, each with its ack id.
fn packets(dialect: &Dialect, frame: &Value) -> Vec<(Option<u64>, Value)> {
    let packets = dialect.packets(frame.to_string().as_bytes(), Some("ann"));
    let of_ann = packets.into_iter().filter(|packet| packet.receivers.include(Some("ann")));
    of_ann.map(|packet| (packet.ack, serde_json::from_str(&packet.json).unwrap())).collect()
}

/// The packets of a frame with a `ref`.
fn answer(dialect: &Dialect, mut frame: Value, reference: &str) -> Vec<(Option<u64>, Value)> {
    frame["ref"] = reference.into();
    packets(dialect, &frame)
}

fn errors(text: &str) -> Vec<(usize, String)> {
    let errors = Dialect::parse(text).err().unwrap_or_else(|| panic!("{text} is a dialect"));
    errors.into_iter().map(|error| (error.line, error.message)).collect()
}

#[test]
fn first_rule_whose_conditions_hold_counts() {
    let dialect = parse(
        r#"
[[client]]
event = "typing"
when = { "$1.on" = [true, 1] }
command = { type = "typing:start", room = "$1.room" }
[[client]]
event = "typing"
command = { type = "typing:stop", room = "$1.room" }
[[server]]
frame = "message:new"
when = { "$kind" = "system" }
emit = []
[[server]]
frame = "message:new"
emit = [["a", "$content"], ["b"]]
"#,
    );
    for (on, kind) in [(json!(true), "typing:start"), (json!(1), "typing:start"), (json!(0), "typing:stop")] {
        let (command, _) = run(&dialect, "typing", json!([{ "on": on, "room": "r" }]));
        assert_eq!(command, json!({ "type": kind, "room": "r" }));
    }
    let message = |kind: &str| json!({ "type": "message:new", "kind": kind, "content": "x" });
    assert!(packets(&dialect, &message("system")).is_empty());
    assert_eq!(packets(&dialect, &message("text")), [(None, json!(["a", "x"])), (None, json!(["b"]))]);
}

#[test]
fn answer_goes_to_ack_and_reply_else_to_the_rule_of_its_frame() {
    let dialect = parse(
        r#"
ack_error = ["no", "$code"]
[[client]]
event = "both"
command = { type = "message:send", room = "$1", content = "x" }
ack = ["$message_id"]
reply = ["sent", "$seq", "$me"]
[[client]]
event = "neither"
command = { type = "message:send", room = "$1", content = "x" }
[[server]]
frame = "ack"
emit = ["stored", "$stage"]
[[server]]
frame = "error"
emit = ["error", "$message"]
"#,
    );
    let ack = json!({ "type": "ack", "room": "r", "seq": 3, "stage": "stored" });
    let error = json!({ "type": "error", "code": "forbidden", "message": "no right" });
    let (command, both) = run(&dialect, "both", json!(["r"]));
    assert_eq!(command["client_id"], "fresh");
    let expected = [(Some(7), json!(["r~3"])), (None, json!(["sent", 3, "ann"]))];
    assert_eq!(answer(&dialect, ack.clone(), &both), expected);
    assert_eq!(answer(&dialect, error.clone(), &both), [(Some(7), json!(["no", "forbidden"]))]);
    let (_, neither) = run(&dialect, "neither", json!(["r"]));
    assert_eq!(answer(&dialect, ack, &neither), [(None, json!(["stored", "stored"]))]);
    assert_eq!(answer(&dialect, error, &neither), [(None, json!(["error", "no right"]))]);
}

#[test]
fn event_without_rule_is_refused_to_its_callback() {
    let dialect = parse("ack_error = [\"$code\"]\n");
    let EventAction::Refuse { refusal, reference } = dialect.event("x", &[], Some(7), None, String::new)
    else {
        panic!("not refused")
    };
    let error = json!({ "type": "error", "code": refusal.code });
    assert_eq!(answer(&dialect, error, &reference), [(Some(7), json!(["bad_request"]))]);
}

#[test]
fn event_without_command_is_answered_at_once() {
    let dialect = parse(
        r#"
ack_error = []
[[client]]
event = "register"
ack = [{ ok = true, name = "$1.name" }]
reply = ["registered", "$me"]
"#,
    );
    let event = |ack| dialect.event("register", &[json!({ "name": "A" })], ack, Some("ann"), String::new);
    let EventAction::Send(sent) = event(Some(7)) else { panic!("not sent") };
    let texts: Vec<&str> = sent.iter().map(|packet| packet.json.as_str()).collect();
    assert_eq!(texts, [r#"[{"name":"A","ok":true}]"#, r#"["registered","ann"]"#]);
    let EventAction::Send(sent) = event(None) else { panic!("not sent") };
    assert_eq!(sent.len(), 1);
}

#[test]
fn message_ids_are_positions_in_commands_and_frames() {
    let dialect = parse(
        r#"
[rooms]
prefix = "x-"
[[client]]
event = "read"
command = { type = "message:read", message_id = "$1" }
[[client]]
event = "react"
command = { type = "reaction:add", room = "$1", message_id = "$2", emoji = "+" }
[[server]]
frame = "receipt:read"
each = "marks"
emit = ["read", "$room", "$each.message_id", "$each.user"]
[[server]]
frame = "reaction:added"
emit = ["reacted", "$message_id"]
"#,
    );
    let (command, _) = run(&dialect, "read", json!(["x-a:20b~41"]));
    assert_eq!(command, json!({ "type": "message:read", "room": "x-a:20b", "seq": 41 }));
    let (command, _) = run(&dialect, "react", json!(["a b", "x-a:20b~41"]));
    assert_eq!(command["seq"], 41);
    for arguments in [json!(["a", "x-a:20b~41"]), json!(["a", "other"]), json!(["a", 7])] {
        let arguments = arguments.as_array().unwrap().clone();
        let action = dialect.event("react", &arguments, None, None, String::new);
        let EventAction::Refuse { refusal, .. } = action else { panic!("{action:?}") };
        assert_eq!(refusal.field.as_deref(), Some("message_id"));
    }
    let marks = json!([{ "user": "ben", "seq": 4 }, { "user": "eve", "seq": 2 }]);
    let receipt = json!({ "type": "receipt:read", "room": "x-a:20b", "marks": marks });
    let expected = [
        (None, json!(["read", "a b", "x-a:20b~4", "ben"])),
        (None, json!(["read", "a b", "x-a:20b~2", "eve"])),
    ];
    assert_eq!(packets(&dialect, &receipt), expected);
    let reaction = json!({ "type": "reaction:added", "room": "x-a", "seq": 9, "target": 4 });
    assert_eq!(packets(&dialect, &reaction), [(None, json!(["reacted", "x-a~4"]))]);
}

#[test]
fn rule_to_others_leaves_out_the_author() {
    let dialect = parse(
        r#"
[[server]]
frame = "message:new"
to = "others"
emit = ["m"]
[[server]]
frame = "presence"
to = "author"
emit = ["p"]
"#,
    );
    let receivers = |frame: Value, user: &str| {
        let packets = dialect.packets(frame.to_string().as_bytes(), None);
        packets.iter().any(|packet| packet.receivers.include(Some(user)))
    };
    let message = json!({ "type": "message:new", "sender": { "id": "ann" } });
    let presence = json!({ "type": "presence", "user": "ann" });
    assert!(!receivers(message.clone(), "ann") && receivers(message, "ben"));
    assert!(receivers(presence.clone(), "ann") && !receivers(presence, "ben"));
}

#[test]
fn connect_packet_names_token_and_rooms() {
    let dialect = parse(
        "[rooms]\nprefix = \"x-\"\n[connect]\ntoken = \"$auth.jwt\"\njoin = [\"lobby\", \"$auth.room\", \"$auth.none\"]\n",
    );
    let connect = dialect.connect(&json!({ "jwt": "Bearer abc", "room": 7 }));
    assert_eq!(connect.token.as_deref(), Some("abc"));
    assert_eq!(connect.join, Some(json!({ "rooms": ["x-lobby", "x-7"] })));
    let mine = parse("[connect]\njoin = \"mine\"\n").connect(&json!({ "token": "t" }));
    assert_eq!((mine.token.as_deref(), mine.join), (Some("t"), Some(json!({ "rooms": "mine" }))));
    assert_eq!(Dialect::default().connect(&json!(null)), DialectConnect { token: None, join: None });
}

#[test]
fn errors_name_line_and_key() {
    for (text, line, part) in [
        ("a = 1\nb = = 2", 2, ""),
        ("colour = 1", 1, "`colour`"),
        ("\n[rooms]\nsuffix = \"x\"", 3, "`suffix`"),
        ("[rooms]\nnumbers = 1", 2, "`numbers`"),
        ("[rooms]\nprefix = \"a\"\ncreate = 1", 3, "`create`"),
        ("\n[rooms]\ncreate = true", 2, "`prefix`"),
        ("[rooms]\nprefix = \"\"\ncreate = true", 1, "`prefix`"),
        ("[connect]\njoin = 1", 2, "`join`"),
        ("[connect]\ntoken = \"$token\"", 2, "`$token`"),
        ("[[client]]\ncommand = { type = \"ping\" }", 1, "`event`"),
        ("[[client]]\nevent = \"connect\"", 2, "reserved"),
        ("[[client]]\nevent = \"a\"\ncommand = { type = \"dance\" }", 3, "`dance`"),
        ("[[client]]\nevent = \"a\"\ncommand = { type = \"ping\", room = 1 }", 3, "`room`"),
        ("[[client]]\nevent = \"a\"\ncommand = { type = \"typing:start\", room = \"$room\" }", 3, "`$room`"),
        ("[[client]]\nevent = \"a\"\nack = []", 1, "`ack_error`"),
        ("[[client]]\nevent = \"a\"\ncommand = { type = \"ping\" }\nreply = [\"p\", \"$1\"]", 4, "`$1`"),
        ("[[client]]\nevent = \"a\"\nwhen = { typing = true }", 3, "condition"),
        ("[[server]]\nframe = \"message:old\"", 1, "`message:old`"),
        ("[[server]]\nframe = \"message:new\"\nemit = [\"m\", \"$contents\"]", 3, "`$contents`"),
        ("[[server]]\nframe = \"message:new\"\nemit = [\"m\", \"$each.x\"]", 3, "`$each`"),
        ("[[server]]\nframe = \"message:new\"\neach = \"marks\"\nemit = [\"m\"]", 3, "`each`"),
        ("[[server]]\nframe = \"message:new\"\nto = \"all\"\nemit = [\"m\"]", 3, "`to`"),
        ("[[server]]\nframe = \"message:new\"\nemit = [\"m\", \"costs 5$\"]", 3, "`$$`"),
        ("[[server]]\nframe = \"message:new\"\nemit = \"m\"", 3, "list"),
    ] {
        let errors = errors(text);
        assert!(
            errors.iter().any(|(at, message)| *at == line && message.contains(part)),
            "{text}: {errors:?}"
        );
    }
    let many = errors("x = 1\n[rooms]\ny = 1\n[[server]]\nz = 1\n");
    assert_eq!(many.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
}

/// Small JSON values.
fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z~:$ ]{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(
                "(chatId|content|messageId|replyTo|status|[a-z]{1,3})",
                inner,
                0..4
            )
            .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

static CHAT: LazyLock<Dialect> =
    LazyLock::new(|| parse(include_str!("../../../../deploy/dialects/chat.toml")));

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn event_with_any_arguments_is_a_command_or_refused(
        event in "(chat:join|chat:leave|message:send|message:read|user:status|other)",
        arguments in proptest::collection::vec(any_json(), 0..3),
    ) {
        if let EventAction::Run { command, .. } = CHAT.event(&event, &arguments, None, None, || "c".to_owned()) {
            let command: Value = serde_json::from_str(&command).unwrap();
            prop_assert!(command["type"].is_string() && command.get("message_id").is_none());
        }
    }

    #[test]
    fn frame_with_any_fields_becomes_arrays(kind in "(message:new|receipt:read|presence|error)", fields in any_json()) {
        let mut frame = json!({ "room": fields, "marks": fields, "sender": fields, "seq": fields });
        frame["type"] = kind.into();
        for packet in CHAT.packets(frame.to_string().as_bytes(), None) {
            let items: Value = serde_json::from_str(&packet.json).unwrap();
            prop_assert!(items[0].is_string());
        }
    }
}
