//! The line of a message, with its later edits, its reactions and its deletion. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::command_fields::object;
use tidings_shared::ids::{ClientId, RoomId, Seq, UserId};
use tidings_shared::limits::MAX_METADATA_BYTES;
use tidings_shared::message::change::{Action, check_emoji};
use tidings_shared::message::{
    AttachmentFields, Draft, SendForm, VisibleTo, check_text, normalize_line_ends,
};

use super::original_time::OriginalTime;
use super::{LineRules, OriginalId, client_id, parse_json};
use crate::batch::folding::MAX_EMOJI;
use crate::jobs::import::refusal::{LineRefusal, RefusalCode};

/// Key in the metadata of a message under which an import keeps the original ids.
pub const IMPORTED_KEY: &str = "imported";

/// A message of another system.
#[derive(Debug)]
pub struct ImportMessage {
    pub room: RoomId,
    pub sender: UserId,
    /// The name of the sender, for a user without a name.
    pub sender_name: Option<String>,
    /// The original time, ms since 1970. None: the message gets the time of the import.
    pub at_ms: Option<i64>,
    /// The id of the message in the other system.
    pub id: String,
    /// The original id of the message that this message replies to.
    pub reply_to: Option<String>,
    pub client_id: String,
    /// The edits in their order, then the reactions, then the deletion.
    pub changes: Vec<ImportChange>,
    /// Why reactions of the line are left out. The message is still imported, because it matters more than a reaction.
    pub left_out: Vec<LineRefusal>,
    /// JSON text: the metadata of the message with the original ids added.
    metadata: String,
    contents: Contents,
}

/// The fields of the line that have the same names as in the frame that sends a message.
#[derive(Debug, Clone, Deserialize)]
struct Contents {
    content: Option<String>,
    kind: Option<String>,
    visible_to: Option<VisibleTo>,
    mentions: Option<Vec<UserId>>,
    attachments: Option<Vec<AttachmentFields>>,
}

/// A change that was made to the message in the other system.
#[derive(Debug)]
pub struct ImportChange {
    pub by: UserId,
    pub at_ms: i64,
    /// Derived from the original id of the message, so that a repeated import does not append the change again.
    pub client_id: ClientId,
    pub action: Action,
}

#[derive(Deserialize)]
struct MessageLine {
    room: RoomId,
    sender: UserId,
    sender_name: Option<String>,
    id: OriginalId,
    at: Option<OriginalTime>,
    reply_to: Option<OriginalId>,
    metadata: Option<Box<RawValue>>,
    edits: Option<Vec<EditForm>>,
    /// Each is parsed on its own, so that the message is not refused for an invalid one.
    reactions: Option<Vec<Box<RawValue>>>,
    deleted: Option<DeletionForm>,
}

/// Without `content` the text stays as it was. Without `by` the sender made the edit.
#[derive(Deserialize)]
struct EditForm {
    at: OriginalTime,
    content: Option<String>,
    by: Option<UserId>,
}

#[derive(Deserialize)]
struct ReactionForm {
    user: UserId,
    emoji: String,
    at: OriginalTime,
}

#[derive(Deserialize)]
struct DeletionForm {
    at: OriginalTime,
    by: Option<UserId>,
}

impl ImportMessage {
    /// Parses the line of a message, and checks all that can be checked without the database.
    pub fn parse(text: &str, rules: &LineRules) -> Result<Self, LineRefusal> {
        let line: MessageLine = parse_json(text)?;
        let (id, reply_to) = (line.id.into_text(), line.reply_to.map(OriginalId::into_text));
        if id.is_empty() {
            return Err(LineRefusal::new(RefusalCode::BadField, "id is empty"));
        }
        if let Some(name) = &line.sender_name {
            check_text(name, "sender_name", usize::MAX)?;
        }
        let mut imported = serde_json::json!({ "id": id });
        if let Some(reply_to) = &reply_to {
            imported["reply_to"] = reply_to.as_str().into();
        }
        let metadata = with_imported(line.metadata.as_deref().map(RawValue::get), &imported.to_string())?;
        let at_ms = line.at.map(|at| at.checked_ms("at", rules.latest_ms)).transpose()?;
        let mut message = Self {
            room: line.room,
            sender: line.sender,
            sender_name: line.sender_name,
            at_ms,
            client_id: client_id(&id),
            id,
            reply_to,
            changes: Vec::new(),
            left_out: Vec::new(),
            metadata,
            contents: object(text)?,
        };
        // The draft is made here, so that an error is reported with its line number.
        let draft = message.draft(None, rules.max_message_chars)?;
        let mut changes = ChangeReader { message: &message, rules, changes: Vec::new() };
        changes.read_edits(line.edits.unwrap_or_default(), &draft)?;
        let left_out = changes.read_reactions(line.reactions.unwrap_or_default());
        if let Some(DeletionForm { at, by }) = line.deleted {
            changes.push(by, &at, "deleted", Action::Delete)?;
        }
        message.changes = changes.changes;
        message.left_out = left_out;
        Ok(message)
    }

    /// The message as it is appended. `reply_to` is the seq of the message that this message replies to.
    pub fn draft(&self, reply_to: Option<Seq>, max_message_chars: usize) -> Result<Draft, LineRefusal> {
        let Contents { content, kind, visible_to, mentions, attachments } = self.contents.clone();
        let form = SendForm {
            client_id: ClientId::parse(&self.client_id)
                .map_err(|error| LineRefusal::new(RefusalCode::BadField, error))?,
            content,
            kind,
            reply_to,
            visible_to,
            mentions,
            attachments,
            metadata: Some(parse_json(&self.metadata)?),
            // `attempt: 1` saves a second look-up: the importer looks up the client id before it appends the message.
            attempt: Some(1),
            ack: None,
        };
        Ok(Draft::from_form(form, max_message_chars)?)
    }

    /// All users whom the line names as a sender or as the author of a change.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.changes.iter().map(|change| &change.by).chain([&self.sender])
    }
}

impl ImportChange {
    /// Whether the change is a reaction. Unlike the others it says nothing about the text of the message.
    #[must_use]
    pub fn is_reaction(&self) -> bool {
        matches!(self.action, Action::AddReaction { .. })
    }
}

/// Checks the changes of a message, and collects them.
struct ChangeReader<'a> {
    message: &'a ImportMessage,
    rules: &'a LineRules,
    changes: Vec<ImportChange>,
}

impl ChangeReader<'_> {
    fn read_edits(&mut self, edits: Vec<EditForm>, draft: &Draft) -> Result<(), LineRefusal> {
        let mut content = draft.content.clone();
        for edit in edits {
            content = edit.content.map_or(content, normalize_line_ends);
            check_text(&content, "edits", self.rules.max_message_chars)?;
            if content.is_empty() && draft.attachments.is_empty() {
                let reason = "an edit removes all text; use `deleted` instead";
                return Err(LineRefusal::new(RefusalCode::BadField, reason));
            }
            let action = Action::Edit { content: content.clone(), metadata: None, mentions: None };
            // The name does not count the edits, because another system may know only the last one.
            let name =
                format!("edit {} {content}", edit.at.checked_ms("at of an edit", self.rules.latest_ms)?);
            self.push(edit.by, &edit.at, &name, action)?;
        }
        Ok(())
    }

    /// Returns the reasons of the reactions that are left out.
    fn read_reactions(&mut self, reactions: Vec<Box<RawValue>>) -> Vec<LineRefusal> {
        let mut emojis = BTreeSet::new();
        let read = reactions.iter().map(|reaction| self.read_reaction(reaction, &mut emojis));
        let refused = read.filter_map(Result::err);
        let left_out = |LineRefusal { code, reason }| {
            LineRefusal::new(code, format!("a reaction is left out: {reason}"))
        };
        refused.map(left_out).collect()
    }

    fn read_reaction(
        &mut self,
        reaction: &RawValue,
        emojis: &mut BTreeSet<String>,
    ) -> Result<(), LineRefusal> {
        let ReactionForm { user, emoji, at } = parse_json(reaction.get())?;
        // The name contains the emoji as the line spells it, because the client id depends on the name: a repeated
        // import must find the reactions that an earlier version imported.
        let name = format!("reaction {emoji}");
        let emoji = check_emoji(emoji)?;
        if !user.may_be_new() {
            return Err(LineRefusal::new(RefusalCode::BadField, "the user id holds a bidi control"));
        }
        if emojis.len() >= MAX_EMOJI && !emojis.contains(&emoji) {
            let reason = format!("the message has {MAX_EMOJI} different emoji");
            return Err(LineRefusal::new(RefusalCode::BadField, reason));
        }
        self.push(Some(user), &at, &name, Action::AddReaction { emoji: emoji.clone() })?;
        emojis.insert(emoji);
        Ok(())
    }

    /// Adds a change. `name` tells the changes of one user to one message apart.
    fn push(
        &mut self,
        by: Option<UserId>,
        at: &OriginalTime,
        name: &str,
        action: Action,
    ) -> Result<(), LineRefusal> {
        let at_ms = at.checked_ms("at of a change", self.rules.latest_ms)?;
        if self.message.at_ms.is_none_or(|sent_ms| at_ms < sent_ms) {
            let reason = "at of a change needs an earlier at of the message";
            return Err(LineRefusal::new(RefusalCode::BadTime, reason));
        }
        // U+001F occurs in no printable id, so the client id is always a hash, and never that of a message.
        let client_id = ClientId::parse(&client_id(&format!("{}\u{1f}{name}", self.message.id)))
            .map_err(|error| LineRefusal::new(RefusalCode::BadField, error))?;
        let by = by.unwrap_or_else(|| self.message.sender.clone());
        self.changes.push(ImportChange { by, at_ms, client_id, action });
        Ok(())
    }
}

/// Adds the original ids to the metadata, and keeps the other metadata as they are.
fn with_imported(metadata: Option<&str>, imported: &str) -> Result<String, LineRefusal> {
    let refused = |reason: String| LineRefusal::new(RefusalCode::BadField, reason);
    let given = metadata.filter(|metadata| *metadata != "null").unwrap_or("{}").trim();
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(given).map_err(|_| refused("metadata is not an object".to_owned()))?;
    if object.contains_key(IMPORTED_KEY) {
        return Err(refused(format!("metadata already has the key {IMPORTED_KEY:?}")));
    }
    let open = given.strip_suffix('}').unwrap_or_default().trim_end();
    let comma = if object.is_empty() { "" } else { "," };
    let metadata = format!("{open}{comma}\"{IMPORTED_KEY}\":{imported}}}");
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(refused(format!(
            "metadata together with the original ids are over {MAX_METADATA_BYTES} bytes"
        )));
    }
    Ok(metadata)
}
