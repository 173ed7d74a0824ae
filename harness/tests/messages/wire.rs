//! The frames and answers of `harness/fixtures/wire/`, by which the TypeScript kit is tested too, held against the types
//! and the document of the services: what stands there is what goes over the wire, field by field. Where one side changes,
//! its test fails until the fixtures, and with them the other side, are changed.

mod document;
mod rebuilt;

use std::collections::BTreeSet;
use std::path::Path;

use document::Document;
use rebuilt::rebuilt;
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::protocol::client::parse;
use tidings_shared::protocol::names::{ANSWERS, CLIENT_FRAMES, LOG_EVENTS, OTHER_FRAMES};

const MAX_MESSAGE_CHARS: usize = 1000;

fn fixtures(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn kinds(frames: &[Value]) -> BTreeSet<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

#[test]
fn every_client_frame_of_the_fixtures_is_understood_with_all_its_fields() {
    let frames = fixtures("client.json");
    for frame in &frames {
        let text = frame.to_string();
        let parsed = parse(&text, MAX_MESSAGE_CHARS);
        let command = parsed.frame.unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!(command.frame(), frame["type"]);
        assert_eq!(parsed.reference.as_deref(), frame["ref"].as_str());
        // A field whose name nobody knows is ignored; of a wrong form, it is refused only where somebody knows it.
        for field in frame.as_object().unwrap().keys().filter(|field| !is_kept_as_it_comes(field)) {
            let mut wrong = frame.clone();
            wrong[field] = json!([[0]]);
            let refused = parse(&wrong.to_string(), MAX_MESSAGE_CHARS).frame;
            assert!(refused.is_err(), "{field} of {text} is nothing that the server knows");
        }
    }
    assert_eq!(kinds(&frames), BTreeSet::from(CLIENT_FRAMES));
}

fn is_kept_as_it_comes(field: &str) -> bool {
    field == "data"
}

#[test]
fn every_server_frame_of_the_fixtures_is_what_the_servers_types_make() {
    let frames = fixtures("server.json");
    for frame in &frames {
        if let Some(rebuilt) = rebuilt(frame) {
            assert_eq!(&rebuilt, frame);
        } else {
            let kind = frame["type"].as_str().unwrap();
            assert!(LOG_EVENTS.contains(&kind) || kind == "void", "nobody knows {kind}");
        }
    }
    // `typing` has the client's names.
    let all = ANSWERS.iter().chain(&LOG_EVENTS).chain(&OTHER_FRAMES).chain(&[
        "typing:start",
        "typing:stop",
        "signal",
    ]);
    assert_eq!(kinds(&frames), all.copied().collect());
}

#[tokio::test]
async fn log_events_and_answers_of_the_fixtures_are_as_the_document_has_them() {
    let stack = Stack::start().await.unwrap();
    let document = stack.http("alice").get("/openapi.json").await.unwrap().expect(200).body;
    let document = Document(document);
    let frames = fixtures("server.json");
    let events = frames.iter().filter(|frame| rebuilt(frame).is_none());
    let mut complaints: Vec<String> = events.flat_map(|event| document.complaints("Event", event)).collect();
    for answer in fixtures("http.json") {
        complaints.extend(document.complaints(answer["form"].as_str().unwrap(), &answer["object"]));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");

    // So that a document that says nothing cannot pass everything.
    let mut wrong = frames.iter().find(|frame| frame["type"] == "message:new").unwrap().clone();
    wrong["sender"] = json!({ "id": 7, "nick": "Al" });
    wrong.as_object_mut().unwrap().remove("content");
    assert_eq!(document.complaints("Event", &wrong).len(), 3, "{:?}", document.complaints("Event", &wrong));
}
