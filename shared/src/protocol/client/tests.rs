//! Tests which frames are commands, and which field a refusal names.

use super::*;

#[test]
fn event_takes_its_type_from_beside_the_object() {
    let ping: &RawValue = serde_json::from_str("\"ping\"").unwrap();
    for object in ["{}", r#"{"type":"message:send"}"#, r#"{"type":7}"#] {
        assert!(matches!(parse_event(ping, object, 1).frame, Ok(Command::Ping)), "{object}");
    }
    assert_eq!(parse_event(ping, r#"{"ref":"r"}"#, 1).reference.as_deref(), Some("r"));
    for object in ["7", "[]", "null"] {
        assert!(parse_event(ping, object, 1).frame.is_err(), "{object}");
    }
    let number: &RawValue = serde_json::from_str("7").unwrap();
    assert_eq!(parse_event(number, "{}", 1).frame.unwrap_err().field.as_deref(), Some("type"));
}

#[test]
fn invalid_frame_keeps_its_ref_and_names_the_field() {
    let cases = [
        ("{", None, None),
        ("[]", None, None),
        ("7", None, None),
        (r#"{"ref":"r"}"#, Some("r"), Some("type")),
        (r#"{"type":7,"ref":"r"}"#, Some("r"), Some("type")),
        (r#"{"type":"room:dance","ref":"r"}"#, Some("r"), Some("type")),
        (r#"{"type":"ping","ref":7}"#, None, Some("ref")),
        (r#"{"type":"room:join","ref":"r"}"#, Some("r"), Some("room")),
        (r#"{"type":"room:join","ref":"r","room":"a b"}"#, Some("r"), Some("room")),
        (r#"{"type":"room:join","ref":"r","room":"a","after":7}"#, Some("r"), Some("after")),
        (r#"{"type":"room:join","ref":"r","rooms":7}"#, Some("r"), Some("rooms")),
        (r#"{"type":"room:join","ref":"r","rooms":"mine","after":{"a":7}}"#, Some("r"), Some("after")),
        (r#"{"type":"message:read","ref":"r","room":"a"}"#, Some("r"), Some("seq")),
        (r#"{"type":"message:read","ref":"r","room":"a","seq":-1}"#, Some("r"), Some("seq")),
        (r#"{"type":"auth","ref":"r"}"#, Some("r"), Some("token")),
        (r#"{"type":"message:delivered","ref":"r","room":"a"}"#, Some("r"), Some("seq")),
        (r#"{"type":"typing:start","ref":"r"}"#, Some("r"), Some("room")),
        (r#"{"type":"presence:set","ref":"r","status":"busy"}"#, Some("r"), Some("status")),
        (r#"{"type":"presence:get","ref":"r","users":"a"}"#, Some("r"), Some("users")),
        (r#"{"type":"signal","ref":"r","room":"a"}"#, Some("r"), Some("data")),
        (r#"{"type":"signal","ref":"r","room":"a","to":"","data":1}"#, Some("r"), Some("to")),
        (r#"{"type":"message:edit","ref":"r","room":"a","content":"x"}"#, Some("r"), Some("seq")),
        (r#"{"type":"auth","ref":"r","token":"\ud800"}"#, Some("r"), Some("token")),
        (r#"{"type":"message:read","ref":"r","room":"a","seq":1e400}"#, Some("r"), Some("seq")),
        (r#"{"type":"room:join","ref":"r","rooms":{"a":["\udc00"]}}"#, Some("r"), Some("rooms")),
    ];
    for (text, reference, field) in cases {
        let parsed = parse(text, 1000);
        let refusal = parsed.frame.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadRequest, "{text}");
        assert_eq!((parsed.reference.as_deref(), refusal.field.as_deref()), (reference, field), "{text}");
    }
}

#[test]
fn refusal_of_a_long_or_deep_value_is_short() {
    let smiles = "\u{1f642}".repeat(500);
    let nested = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for (frame, field) in [
        (format!(r#"{{"type":"presence:set","status":"{smiles}"}}"#), "status"),
        (format!(r#"{{"type":"message:read","room":"a","seq":"{smiles}"}}"#), "seq"),
        (format!(r#"{{"type":"room:join","rooms":{nested}}}"#), "rooms"),
    ] {
        let refusal = parse(&frame, 1000).frame.unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some(field));
        assert!(refusal.message.len() <= 400, "{}", refusal.message);
    }
}

#[test]
fn malformed_trace_context_is_ignored() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ping = |trace: &str| parse(&format!(r#"{{"type":"ping","traceparent":{trace}}}"#), 1000);
    assert_eq!(ping(&format!("\"{good}\"")).trace, TraceContext::parse(good));
    for bad in ["7", "null", "{}", "\"\"", "\"00-nonsense\"", "\"00-\\u0000\""] {
        let parsed = ping(bad);
        assert!(parsed.trace.is_none() && parsed.frame.is_ok(), "{bad}");
    }
}

#[test]
fn signal_data_that_some_parsers_reject_is_refused() {
    let signal = |data: &str| {
        let parsed = parse(&format!(r#"{{"type":"signal","room":"a","data":{data}}}"#), 1000);
        parsed.frame.map_err(|refusal| (refusal.code, refusal.field))
    };
    for good in [r#""\ud83d\ude42 \u0000""#, "[1e300, -0.0, 18446744073709551616]", r#"{"a":1,"a":2}"#] {
        assert!(signal(good).is_ok(), "{good}");
    }
    for bad in [r#""half a \ud800""#, r#"{"\udc00":1}"#, "[1e400]"] {
        assert_eq!(signal(bad).unwrap_err(), (ErrorCode::BadRequest, Some("data".into())), "{bad}");
    }
}

#[test]
fn join_targets_one_many_and_mine_are_parsed() {
    let join = |text: &str| match parse(text, 1000).frame.unwrap() {
        Command::Join { target, .. } => target,
        other => panic!("{other:?}"),
    };
    let room = |id: &str| RoomId::parse(id).unwrap();
    let cursor = Cursor { epoch: "7".into(), seq: Seq(41) };
    assert_eq!(
        join(r#"{"type":"room:join","room":"a","after":{"epoch":"7","seq":41},"unknown":[]}"#),
        JoinTarget::One { room: room("a"), after: Some(cursor.clone()) }
    );
    assert_eq!(
        join(r#"{"type":"room:join","rooms":["a","b","a"],"after":{"b":{"epoch":"7","seq":41}}}"#),
        JoinTarget::Many {
            rooms: vec![room("a"), room("b")],
            after: HashMap::from([(room("b"), cursor.clone())])
        }
    );
    let nulls = r#"{"b":{"epoch":"7","seq":41},"a":null}"#;
    assert_eq!(
        join(&format!(r#"{{"type":"room:join","rooms":"mine","room":null,"after":{nulls}}}"#)),
        JoinTarget::Mine { after: HashMap::from([(room("b"), cursor)]) }
    );
    assert_eq!(
        join(r#"{"type":"room:join","room":"a","rooms":null,"after":null}"#),
        JoinTarget::One { room: room("a"), after: None }
    );
    assert_eq!(join(r#"{"type":"room:join","rooms":"mine"}"#), JoinTarget::Mine { after: HashMap::new() });
}
