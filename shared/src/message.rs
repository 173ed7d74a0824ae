//! A message as its sender submits it, and its JSON body. The same code checks the fields of frames and of HTTP
//! requests.

mod attachment;
pub mod change;
pub mod events;
mod form;
mod mentions;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    command_fields::{bounded, json_object},
    error::Refusal,
    ids::{ClientId, Seq, UserId, is_label},
    limits::{MAX_ATTACHMENTS, MAX_METADATA_BYTES, MAX_VISIBLE_TO},
    role::{MinRole, Permission},
    visibility::Visibility,
};
pub use attachment::{Attachment, AttachmentFields, AttachmentSource, Dimensions};
pub use change::Target;
pub use form::{SendForm, VisibleTo};

use change::Actor;
use events::{Audience, MessageBody, MessageJsonFields};
use mentions::check_mentions;

/// What a sender waits for: `accepted` (the event is in Redis) or `stored` (the event is committed in PostgreSQL).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Stage))]
pub enum AckStage {
    Accepted,
    #[default]
    Stored,
}

/// The sender of a message, as other users see the sender.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = EventSender))]
pub struct Sender<'a> {
    #[cfg_attr(feature = "openapi", schema(value_type = UserId))]
    pub id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub picture: Option<&'a str>,
}

/// A message whose fields are checked, before it is appended to the log.
#[derive(Debug, Clone)]
pub struct Draft {
    pub client_id: ClientId,
    pub kind: String,
    pub content: String,
    pub reply_to: Option<Seq>,
    pub attachments: Vec<Attachment>,
    pub metadata: Option<Box<RawValue>>,
    pub visibility: Visibility,
    /// The users whom the message mentions, each once. [`crate::log::Log::check_mentions`] checks that they may see it.
    pub mentions: Vec<UserId>,
    pub ack: AckStage,
    /// Whether the sender promises, by `attempt: 1`, that this client id was never sent before.
    pub first_attempt: bool,
}

impl Draft {
    /// Checks the fields of a message that is sent.
    pub fn from_form(form: SendForm, max_chars: usize) -> Result<Self, Refusal> {
        let attachments = bounded(form.attachments.unwrap_or_default(), "attachments", MAX_ATTACHMENTS)?;
        let attachments: Vec<Attachment> =
            attachments.into_iter().map(Attachment::try_from).collect::<Result<_, _>>()?;
        let content = match form.content {
            Some(content) => normalize_line_ends(content),
            None if attachments.is_empty() => {
                return Err(Refusal::bad_field("content", "`content` is missing"));
            }
            None => String::new(),
        };
        check_text(&content, "content", max_chars)?;
        if content.is_empty() && attachments.is_empty() {
            return Err(Refusal::bad_field("content", "`content` is empty and there are no attachments"));
        }
        let kind = form.kind.unwrap_or_else(|| "text".to_owned());
        if !is_label(&kind) {
            return Err(Refusal::bad_field("kind", "`kind` must be 1 to 32 of a-z 0-9 _ -"));
        }
        if form.reply_to == Some(Seq(0)) {
            return Err(Refusal::bad_field("reply_to", "`reply_to` must be the seq of a message"));
        }
        Ok(Self {
            client_id: form.client_id,
            kind,
            content,
            reply_to: form.reply_to,
            attachments,
            metadata: json_object(form.metadata.as_deref(), "metadata", MAX_METADATA_BYTES)?,
            visibility: form.visible_to.map(visibility_of).transpose()?.unwrap_or_default(),
            mentions: check_mentions(form.mentions)?.unwrap_or_default(),
            ack: form.ack.unwrap_or_default(),
            first_attempt: form.attempt == Some(1),
        })
    }

    /// Approximate size of the message in bytes.
    pub fn bytes(&self) -> usize {
        let attached = self.attachments.iter().map(Attachment::bytes);
        let metadata = self.metadata.as_ref().map_or(0, |json| json.get().len());
        let audience: usize = self.visibility.users.iter().map(String::len).sum();
        let mentioned: usize = self.mentions.iter().map(|user| user.as_str().len()).sum();
        self.content.len() + metadata + attached.sum::<usize>() + audience + mentioned
    }

    /// The fields of the event after `type`, `room`, `seq` and `at`, as JSON in the wire form.
    pub fn body(&self, id: &str, sender: Sender<'_>) -> String {
        const SERIALISES: &str = "strings, numbers and checked JSON always serialise";
        let visible_to = (!self.visibility.is_everyone())
            .then_some(Audience { users: &self.visibility.users, roles: &self.visibility.roles });
        let attachments = (!self.attachments.is_empty())
            .then(|| serde_json::value::to_raw_value(&self.attachments).expect(SERIALISES));
        let mentions: Vec<String> = self.mentions.iter().map(UserId::to_string).collect();
        let body = MessageBody {
            id,
            client_id: self.client_id.as_str(),
            sender,
            kind: &self.kind,
            content: &self.content,
            reply_to: self.reply_to,
            attachments: attachments.as_deref(),
            metadata: self.metadata.as_deref(),
            visible_to,
            mentions: (!mentions.is_empty()).then_some(mentions.as_slice()),
            edited_at: None,
            deleted: None,
            deleted_by: None,
        };
        serde_json::to_string(&body).expect(SERIALISES)
    }

    /// Returns the lowest role with which the message may be appended. Refuses an actor who may not send.
    pub fn permit(&self, actor: &Actor<'_>) -> Result<MinRole, Refusal> {
        actor.permit(Permission::Send)
    }

    /// Converts a stored message into one that is sent again with another client id. The error says which part of the
    /// stored message is not allowed in a message that is sent.
    pub fn from_stored(
        stored: MessageJsonFields<'_>,
        client_id: ClientId,
        visibility: Visibility,
    ) -> Result<Self, &'static str> {
        check_text(&stored.content, "content", usize::MAX)
            .map_err(|_| "its text holds a control character")?;
        let attachments: Option<Vec<Attachment>> = stored
            .attachments
            .map(|json| serde_json::from_str(json.get()))
            .transpose()
            .map_err(|_| "the attachments of the message have an unexpected form")?;
        Ok(Self {
            client_id,
            kind: stored.kind.into_owned(),
            content: stored.content.into_owned(),
            reply_to: stored.reply_to,
            attachments: attachments.unwrap_or_default(),
            metadata: stored.metadata.map(ToOwned::to_owned),
            visibility,
            mentions: stored.mentions.unwrap_or_default(),
            ack: AckStage::Stored,
            // The job that sends stored messages again may have appended this message in an earlier run.
            first_attempt: false,
        })
    }
}

/// Refuses a text of more than `max_chars` Unicode scalar values, or with control characters other than tab and
/// newline.
pub fn check_text(text: &str, field: &'static str, max_chars: usize) -> Result<(), Refusal> {
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(Refusal::too_large(field, format!("`{field}` is over {max_chars} characters")));
    }
    let forbidden = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.chars().any(forbidden) {
        let message = format!("`{field}` holds a control character other than tab and newline");
        return Err(Refusal::bad_field(field, message));
    }
    Ok(())
}

/// Replaces each CR LF by a LF, so that the line ends of all systems are stored alike.
#[must_use]
pub fn normalize_line_ends(text: String) -> String {
    if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text }
}

fn visibility_of(visible_to: VisibleTo) -> Result<Visibility, Refusal> {
    let users = bounded(visible_to.users.unwrap_or_default(), "visible_to", MAX_VISIBLE_TO)?;
    let roles = bounded(visible_to.roles.unwrap_or_default(), "visible_to", MAX_VISIBLE_TO)?;
    if !roles.iter().all(|role| is_label(role)) {
        return Err(Refusal::bad_field("visible_to", "a role name is 1 to 32 of a-z 0-9 _ -"));
    }
    // Empty lists could mean nobody or everybody. They are refused, because a wrong guess would show a private message.
    if users.is_empty() && roles.is_empty() {
        let message = "`visible_to` names nobody; leave it out to reach everyone";
        return Err(Refusal::bad_field("visible_to", message));
    }
    Ok(Visibility { users: users.iter().map(UserId::to_string).collect(), roles })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command_fields::object, error::ErrorCode};

    fn draft(json: &str) -> Result<Draft, Refusal> {
        Draft::from_form(object(json)?, 1000)
    }

    #[test]
    fn plain_message_keeps_its_content() {
        let draft =
            draft(r#"{"client_id":"c","content":"<b>hi</b>\n\t\"🙂\" \u2028","metadata":{"b":1,"a":[2]}}"#)
                .unwrap();
        assert_eq!(draft.content, "<b>hi</b>\n\t\"🙂\" \u{2028}");
        assert_eq!(draft.ack, AckStage::Stored);
        let body = draft.body("i", Sender { id: "alice", name: None, picture: None });
        assert!(body.contains(r#""metadata":{"b":1,"a":[2]}"#), "{body}");
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["content"], "<b>hi</b>\n\t\"🙂\" \u{2028}");
    }

    #[test]
    fn invalid_field_is_refused_with_its_name() {
        let long = format!(r#"{{"client_id":"c","content":"{}"}}"#, "é".repeat(1001));
        let cases = [
            (r#"{"content":"x"}"#, ErrorCode::BadRequest, "client_id"),
            (r#"{"client_id":7,"content":"x"}"#, ErrorCode::BadRequest, "client_id"),
            (r#"{"client_id":"","content":"x"}"#, ErrorCode::BadRequest, "client_id"),
            (r#"{"client_id":"c"}"#, ErrorCode::BadRequest, "content"),
            (r#"{"client_id":"c","content":""}"#, ErrorCode::BadRequest, "content"),
            (r#"{"client_id":"c","content":["x"]}"#, ErrorCode::BadRequest, "content"),
            (r#"{"client_id":"c","content":"a\u0000b"}"#, ErrorCode::BadRequest, "content"),
            (r#"{"client_id":"c","content":"a\u0085b"}"#, ErrorCode::BadRequest, "content"),
            (long.as_str(), ErrorCode::TooLarge, "content"),
            (r#"{"client_id":"c","content":"x","kind":"Te xt"}"#, ErrorCode::BadRequest, "kind"),
            (r#"{"client_id":"c","content":"x","reply_to":-1}"#, ErrorCode::BadRequest, "reply_to"),
            (r#"{"client_id":"c","content":"x","metadata":[]}"#, ErrorCode::BadRequest, "metadata"),
            (
                r#"{"client_id":"c","content":"x","metadata":{"a":["\u0000"]}}"#,
                ErrorCode::BadRequest,
                "metadata",
            ),
            (r#"{"client_id":"c","content":"x","ack":"soon"}"#, ErrorCode::BadRequest, "ack"),
            (r#"{"client_id":"c","content":"x","visible_to":{}}"#, ErrorCode::BadRequest, "visible_to"),
            (
                r#"{"client_id":"c","content":"x","visible_to":{"users":null,"roles":null}}"#,
                ErrorCode::BadRequest,
                "visible_to",
            ),
            (
                r#"{"client_id":"c","content":"x","visible_to":{"users":[null]}}"#,
                ErrorCode::BadRequest,
                "visible_to",
            ),
            (
                r#"{"client_id":"c","attachments":[{"name":"a","url":"javascript:1","media_type":"x/y","size":1}]}"#,
                ErrorCode::BadRequest,
                "attachments",
            ),
        ];
        for (json, code, field) in cases {
            let refusal = draft(json).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_deref()), (code, Some(field)), "{json}");
        }
    }

    #[test]
    fn null_in_visible_to_counts_as_absent() {
        let visible_to = |json: &str| {
            draft(&format!(r#"{{"client_id":"c","content":"x","visible_to":{json}}}"#)).unwrap().visibility
        };
        let names = |users: &[&str], roles: &[&str]| {
            let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            Visibility { users: list(users), roles: list(roles) }
        };
        assert_eq!(visible_to(r#"{"users":["bob"],"roles":null}"#), names(&["bob"], &[]));
        assert_eq!(visible_to(r#"{"users":null,"roles":["tutor"]}"#), names(&[], &["tutor"]));
        assert_eq!(visible_to(r#"{"users":["bob"]}"#), names(&["bob"], &[]));
        assert_eq!(visible_to("null"), Visibility::default());
    }

    #[test]
    fn escaped_backslash_before_u0000_is_not_nul() {
        assert!(draft(r#"{"client_id":"c","content":"x","metadata":{"a":"\\\\u0000"}}"#).is_ok());
    }

    #[test]
    fn windows_line_ends_become_newlines_and_count_as_one() {
        let json = format!(r#"{{"client_id":"c","content":"{}a\r\n\r\nb"}}"#, "x".repeat(996));
        let expected = format!("{}a\n\nb", "x".repeat(996));
        assert_eq!(draft(&json).unwrap().content, expected);
        assert!(draft(r#"{"client_id":"c","content":"a\rb"}"#).is_err(), "a CR alone is a control character");
    }

    #[test]
    fn thousand_characters_are_allowed_whatever_their_size() {
        let json = format!(r#"{{"client_id":"c","content":"{}"}}"#, "🙂".repeat(1000));
        assert!(draft(&json).is_ok());
    }
}
