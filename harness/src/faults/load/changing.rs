//! Speakers sometimes change their messages over HTTP, and record the outcomes.

use rand::Rng;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Speaker, http_clients, lock};
use crate::history::{Change, ChangeOutcome};
use crate::http::{self, Answer};
use crate::listener::Sent;

const EMOJI: &str = "👍";

/// A change of a message, and the node to which it is sent.
#[derive(Clone, Copy)]
pub(super) struct ChangeIntent {
    kind: ChangeKind,
    second_node: bool,
}

#[derive(Clone, Copy)]
enum ChangeKind {
    Delete,
    Edit,
    React,
}

impl ChangeIntent {
    pub(super) fn random(rng: &mut StdRng) -> ChangeIntent {
        let kinds = [ChangeKind::Delete, ChangeKind::Edit, ChangeKind::React, ChangeKind::React];
        ChangeIntent { kind: kinds[rng.random_range(0..kinds.len())], second_node: rng.random() }
    }
}

impl Speaker {
    /// Requests a change and records its outcome. A failed request is not repeated, because at most one request may
    /// change each message.
    pub(super) async fn change(&self, room: &str, sent: &Sent, intent: ChangeIntent) {
        let nodes = http_clients(&self.nodes, &self.person.name);
        let http = &nodes[usize::from(intent.second_node) % nodes.len()];
        let path = format!("/rooms/{room}/messages/{}", sent.seq);
        let (method, path, change) = match intent.kind {
            ChangeKind::Delete => (Method::DELETE, path, Change::Delete),
            ChangeKind::Edit => {
                let text = format!("{} has edited {} of {room}", self.person.name, sent.seq);
                (Method::PATCH, path, Change::Edit(text))
            }
            ChangeKind::React => {
                let path = format!("{path}/reactions/{}", http::encode(EMOJI));
                (Method::PUT, path, Change::React(EMOJI.to_owned()))
            }
        };
        let body = match &change {
            Change::Edit(text) => Some(json!({ "content": text })),
            _ => None,
        };
        let name = change.kind();
        let number = self.changes.record_request(room, &self.person.name, sent.seq, change);
        let answer = http.request(method, &path, body).await;
        if let Some(answer) = answer.as_ref().ok().filter(|answer| answer.is_internal_error()) {
            lock(&self.internal_errors)
                .push(format!("{name} of {} in {room} was answered {answer:?}", sent.seq));
        }
        self.changes
            .record_outcome(number, answer.map_or(ChangeOutcome::Unknown, |answer| parse_outcome(&answer)));
    }
}

fn parse_outcome(answer: &Answer) -> ChangeOutcome {
    match (answer.status, &answer.body["stage"], answer.body["seq"].as_u64()) {
        (200, Value::String(stage), Some(seq)) if stage == "stored" => ChangeOutcome::Stored(seq),
        (408 | 429 | 500..=599, ..) => ChangeOutcome::Unknown,
        (status, ..) => ChangeOutcome::Refused(format!("{status} {}", answer.body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(status: u16, body: Value) -> ChangeOutcome {
        parse_outcome(&Answer { status, body, content_type: String::new(), closes: false })
    }

    #[test]
    fn only_stored_and_final_refusals_are_definite_outcomes() {
        assert_eq!(outcome_of(200, json!({ "stage": "stored", "seq": 7 })), ChangeOutcome::Stored(7));
        for status in [408, 429, 500, 503] {
            assert_eq!(outcome_of(status, Value::Null), ChangeOutcome::Unknown);
        }
        // The request wanted `stored`, so `accepted` is a wrong answer.
        let accepted = outcome_of(200, json!({ "stage": "accepted", "seq": 7 }));
        for refused in [accepted, outcome_of(404, Value::Null), outcome_of(409, Value::Null)] {
            assert!(matches!(refused, ChangeOutcome::Refused(_)), "{refused:?}");
        }
    }
}
