//! Compares the frames and answers of `harness/fixtures/wire/`, field by field, with the services' types and OpenAPI
//! document. The TypeScript kit is tested with the same fixtures, so a change on one side fails until both sides
//! change.

mod document;
mod rebuilt;

use std::collections::BTreeSet;
use std::path::Path;

use document::Document;
use rebuilt::rebuild_frame;
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::protocol::client::parse;
use tidings_shared::protocol::names::{ANSWERS, CLIENT_FRAMES, LOG_EVENTS, OTHER_FRAMES};

const MAX_MESSAGE_CHARS: usize = 1000;

fn read_fixtures(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn frame_types(frames: &[Value]) -> BTreeSet<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

#[test]
fn client_fixture_frames_parse_with_all_fields() {
    let frames = read_fixtures("client.json");
    for frame in &frames {
        let text = frame.to_string();
        let parsed = parse(&text, MAX_MESSAGE_CHARS);
        let command = parsed.frame.unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!(command.frame(), frame["type"]);
        assert_eq!(parsed.reference.as_deref(), frame["ref"].as_str());
        // The parser ignores unknown fields, so it refuses a wrong value only in a field that it knows.
        for field in frame.as_object().unwrap().keys().filter(|field| !is_opaque(field)) {
            let mut wrong = frame.clone();
            wrong[field] = json!([[0]]);
            let refused = parse(&wrong.to_string(), MAX_MESSAGE_CHARS).frame;
            assert!(refused.is_err(), "the server does not know {field} of {text}");
        }
    }
    assert_eq!(frame_types(&frames), BTreeSet::from(CLIENT_FRAMES));
}

fn is_opaque(field: &str) -> bool {
    field == "data"
}

#[test]
fn server_fixture_frames_match_server_types() {
    let frames = read_fixtures("server.json");
    for frame in &frames {
        if let Some(rebuilt) = rebuild_frame(frame) {
            assert_eq!(&rebuilt, frame);
        } else {
            let kind = frame["type"].as_str().unwrap();
            assert!(LOG_EVENTS.contains(&kind) || kind == "void", "the server has no type for {kind}");
        }
    }
    // Typing and signal frames have the same names as frames of clients, so no list of server frames contains them.
    let all = ANSWERS.iter().chain(&LOG_EVENTS).chain(&OTHER_FRAMES).chain(&[
        "typing:start",
        "typing:stop",
        "signal",
    ]);
    assert_eq!(frame_types(&frames), all.copied().collect());
}

#[tokio::test]
async fn fixture_events_and_answers_match_openapi_document() {
    let stack = Stack::shared().await.unwrap();
    let document = stack.http("alice").get("/openapi.json").await.unwrap().expect(200).body;
    let document = Document(document);
    let frames = read_fixtures("server.json");
    let events = frames.iter().filter(|frame| rebuild_frame(frame).is_none());
    let mut violations: Vec<String> = events.flat_map(|event| document.violations("Event", event)).collect();
    for answer in read_fixtures("http.json") {
        violations.extend(document.violations(answer["form"].as_str().unwrap(), &answer["object"]));
    }
    assert!(violations.is_empty(), "{violations:#?}");

    // A wrong event must be reported; otherwise an empty document would accept everything.
    let mut wrong = frames.iter().find(|frame| frame["type"] == "message:new").unwrap().clone();
    wrong["sender"] = json!({ "id": 7, "nick": "Al" });
    wrong.as_object_mut().unwrap().remove("content");
    assert_eq!(document.violations("Event", &wrong).len(), 3, "{:?}", document.violations("Event", &wrong));
}
