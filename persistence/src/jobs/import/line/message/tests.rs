//! Tests the parsing of message lines: what is kept, what is left out, and what is refused.

use super::*;

fn parse(text: &str) -> Result<ImportMessage, LineRefusal> {
    ImportMessage::parse(text, &LineRules { max_message_chars: 5, latest_ms: 1_600_000_000_000 })
}

#[test]
fn message_keeps_original_time_and_ids() {
    let message = parse(
        r#"{"type":"message","room":"r","id":"m 1","sender":"alice","at":"2019-05-06T07:08:09Z","content":"hi\n",
           "metadata":{"b":1.0, "a":2 },"reply_to":17,"kind":"note","sender_name":"Alice"}"#,
    )
    .unwrap();
    let draft = message.draft(Some(Seq(4)), 1000).unwrap();
    assert_eq!(
        (draft.client_id.as_str(), draft.kind.as_str(), draft.reply_to),
        ("import:m 1", "note", Some(Seq(4)))
    );
    assert!(draft.first_attempt);
    assert_eq!(draft.metadata.unwrap().get(), r#"{"b":1.0, "a":2,"imported":{"id":"m 1","reply_to":"17"}}"#);
    assert_eq!((message.at_ms, message.sender_name.as_deref()), (Some(1_557_126_489_000), Some("Alice")));
    assert_eq!(message.reply_to.as_deref(), Some("17"));
}

#[test]
fn changes_are_read_with_authors_times_and_texts() {
    let message = parse(
        r#"{"type":"message","room":"r","id":1,"sender":"alice","at":100000000010,"content":"a",
           "reactions":[{"user":"bob","emoji":"👍","at":100000000030}],
           "edits":[{"at":100000000011,"content":"b"},{"at":100000000012,"by":"carol"}],"deleted":{"at":100000000040,"by":"carol"}}"#,
    )
    .unwrap();
    let seen: Vec<_> = message
        .changes
        .iter()
        .map(|change| {
            let text = match &change.action {
                Action::Edit { content, .. } => content.as_str(),
                Action::AddReaction { emoji } => emoji.as_str(),
                _ => "deleted",
            };
            (change.by.as_str(), change.at_ms - 100_000_000_000, text)
        })
        .collect();
    let expected = [("alice", 11, "b"), ("carol", 12, "b"), ("bob", 30, "👍"), ("carol", 40, "deleted")];
    assert_eq!(seen, expected);
    let ids: BTreeSet<&str> = message.changes.iter().map(|change| change.client_id.as_str()).collect();
    assert_eq!(ids.len(), message.changes.len());
}

#[test]
fn invalid_reaction_is_left_out_and_reported() {
    let good =
        |user: &str, emoji: &str| format!(r#"{{"user":"{user}","emoji":"{emoji}","at":100000000020}}"#);
    let many = (0..=MAX_EMOJI).map(|number| good("bob", &format!("e{number}")));
    let reactions: Vec<String> = [
        good("bob", " "),
        good("b b", "👍"),
        r#"{"user":"bob","emoji":"👍","at":100000000009}"#.to_owned(),
        "7".to_owned(),
    ]
    .into_iter()
    .chain(many)
    .collect();
    let message = parse(&format!(
        r#"{{"type":"message","room":"r","id":1,"sender":"a","at":100000000010,"content":"x\r\n","reactions":[{}],
           "edits":[{{"at":100000000011,"content":"a\r\nb"}}]}}"#,
        reactions.join(",")
    ))
    .unwrap();
    assert_eq!(message.changes.len(), 1 + MAX_EMOJI);
    assert!(matches!(&message.changes[0].action, Action::Edit { content, .. } if content == "a\nb"));
    let reasons = message.left_out.iter().map(ToString::to_string);
    for (reason, expected) in
        reasons.zip(["emoji", "user id", "earlier at", "invalid type", "different emoji"])
    {
        assert!(reason.contains("a reaction is left out") && reason.contains(expected), "{reason}");
    }
    assert_eq!(message.left_out.len(), 5);
    assert_eq!(message.draft(None, 5).unwrap().content, "x\n");
}

#[test]
fn invalid_message_is_refused_with_code_and_reason() {
    use RefusalCode::{BadField, BadLine, BadTime};
    for (fields, code, expected) in [
        (r#""id":"","content":"x""#, BadField, "id"),
        (r#""id":"1""#, BadField, "content"),
        (r#""id":"1","content":"abcdef""#, BadField, "over 5"),
        (r#""id":"1","content":"x","metadata":[]"#, BadField, "metadata"),
        (r#""id":"1","content":"x","metadata":{"imported":1}"#, BadField, "imported"),
        (r#""id":"1","content":"x","sender_name":"a\u0000""#, BadField, "sender_name"),
        (r#""id":"1","content":"x","at":true"#, BadLine, "match"),
        (r#""id":"1","content":"x","at":"May 6""#, BadTime, "at"),
        (
            r#""id":"1","content":"x","edits":[{"at":100000000005,"content":"y"}]"#,
            BadTime,
            "at of the message",
        ),
        (r#""id":"1","content":"x","at":100000000009,"edits":[{"at":100000000008}]"#, BadTime, "earlier at"),
        (
            r#""id":"1","content":"x","at":100000000009,"edits":[{"at":100000000009,"content":"abcdef"}]"#,
            BadField,
            "over 5",
        ),
        (
            r#""id":"1","content":"x","at":100000000009,"edits":[{"at":100000000009,"content":""}]"#,
            BadField,
            "deleted",
        ),
        (r#""id":"1","content":"x","at":100000000009,"deleted":true"#, BadLine, "DeletionForm"),
    ] {
        let text = format!(r#"{{"type":"message","room":"r","sender":"a",{fields}}}"#);
        let refusal = parse(&text).unwrap_err();
        assert!(refusal.code == code && refusal.reason.contains(expected), "{text}: {refusal}");
    }
}
