//! Checks the users whom a message mentions. `log::mentions` checks that they may see the message.

use crate::{command_fields::bounded, error::Refusal, ids::UserId, limits::MAX_MENTIONS};

/// Refuses too many users, and a user who is named twice.
pub(super) fn check_mentions(mentions: Option<Vec<UserId>>) -> Result<Option<Vec<UserId>>, Refusal> {
    let Some(users) = mentions else { return Ok(None) };
    let users = bounded(users, "mentions", MAX_MENTIONS)?;
    if users.iter().enumerate().any(|(index, user)| users[..index].contains(user)) {
        return Err(Refusal::bad_field("mentions", "`mentions` names a user twice"));
    }
    Ok(Some(users))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command_fields::object,
        error::ErrorCode,
        message::{Draft, Sender},
    };

    fn draft(mentions: &serde_json::Value) -> Result<Draft, Refusal> {
        let json = serde_json::json!({"client_id": "c", "content": "x", "mentions": mentions}).to_string();
        Draft::from_form(object(&json)?, 1000)
    }

    #[test]
    fn message_mentions_up_to_twenty_users() {
        let users = |count: usize| -> serde_json::Value {
            (0..count).map(|user| format!("u{user}")).collect::<Vec<_>>().into()
        };
        let body = |draft: Draft| draft.body("i", Sender { id: "alice", name: None, picture: None });
        assert!(body(draft(&users(2)).unwrap()).contains(r#""mentions":["u0","u1"]"#));
        assert!(!body(draft(&users(0)).unwrap()).contains("mentions"));
        assert_eq!(draft(&users(20)).unwrap().mentions.len(), 20);
        assert_eq!(draft(&users(21)).unwrap_err().code, ErrorCode::TooLarge);
    }

    #[test]
    fn mentions_that_are_not_distinct_user_ids_are_refused() {
        for wrong in
            [serde_json::json!("bob"), serde_json::json!(["a b"]), serde_json::json!(["a", "b", "a"])]
        {
            let refusal = draft(&wrong).unwrap_err();
            let found = (refusal.code, refusal.field.as_deref());
            assert_eq!(found, (ErrorCode::BadRequest, Some("mentions")), "{wrong}");
        }
    }
}
