//! A client's text frame, from any UTF-8: what is taken keeps to the protocol page's bounds, what is refused is told
//! in few words, and both can be told on as JSON.

use serde_json::Value;
use tidings_shared::{
    limits::{
        MAX_ATTACHMENTS, MAX_METADATA_BYTES, MAX_PRESENCE_USERS, MAX_ROOMS_PER_JOIN, MAX_SIGNAL_BYTES,
        MAX_VISIBLE_TO,
    },
    message::Draft,
    protocol::{
        Command, RoomCommand,
        client::{JoinTarget, parse},
        server::{Sender, ServerFrame},
    },
};

const MAX_CHARS: usize = 100;
/// A refusal answers a frame of 64 KiB with a sentence.
const MAX_REFUSAL_BYTES: usize = 400;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = parse(text, MAX_CHARS);
    let reference = parsed.reference.as_deref();
    assert!(reference.is_none_or(|reference| reference.chars().count() <= 64));
    match &parsed.frame {
        Ok(command) => check(command),
        Err(refusal) => {
            assert!(refusal.message.len() <= MAX_REFUSAL_BYTES, "{}", refusal.message);
            let answer = ServerFrame::Error { reference, room: parsed.room.as_ref(), refusal }.to_json();
            let answer: Value = serde_json::from_slice(answer.as_ref()).expect("an error is JSON");
            assert_eq!(answer["ref"].as_str(), reference);
        }
    }
}

fn check(command: &Command) {
    match command {
        Command::InRoom { command: RoomCommand::Send(draft), .. } => check_draft(draft),
        Command::Join { target: JoinTarget::Many { rooms, .. }, .. } | Command::Leave { rooms } => {
            assert!(rooms.len() <= MAX_ROOMS_PER_JOIN);
            let mut sorted: Vec<&str> = rooms.iter().map(|room| room.as_str()).collect();
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "each room once");
        }
        Command::PresenceGet { users } => assert!(users.len() <= MAX_PRESENCE_USERS),
        Command::InRoom { command: RoomCommand::Signal { data, .. }, .. } => {
            assert!(data.get().len() <= MAX_SIGNAL_BYTES);
            serde_json::from_str::<Value>(data.get()).expect("what is passed on is JSON for every receiver");
        }
        _ => {}
    }
}

fn check_draft(draft: &Draft) {
    assert!(draft.content.chars().count() <= MAX_CHARS);
    assert!(!draft.content.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    assert!(draft.attachments.len() <= MAX_ATTACHMENTS);
    assert!(draft.metadata.as_ref().is_none_or(|metadata| metadata.get().len() <= MAX_METADATA_BYTES));
    let aimed_at = &draft.visibility;
    assert!(aimed_at.users.len() <= MAX_VISIBLE_TO && aimed_at.roles.len() <= MAX_VISIBLE_TO);
    let body = draft.body("id", Sender { id: "fuzz", name: None, picture: None });
    let body: Value = serde_json::from_str(&body).expect("what goes into the log is JSON");
    assert_eq!(body["content"].as_str(), Some(draft.content.as_str()));
    assert!(body["id"] == "id" && body["sender"]["id"] == "fuzz", "nobody speaks for another: {body}");
}
