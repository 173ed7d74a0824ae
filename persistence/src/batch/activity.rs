//! The events of a batch that may concern users who have not joined the room: messages that all members see, and
//! messages and edits that mention users. Pure.

use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::Record,
};

use super::{Action, BatchPlan, MessageRow};

/// Stored events of one room: one event that mentions users, or events in a row that all members see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomActivity {
    pub room: RoomId,
    pub epoch: Epoch,
    pub first: Seq,
    pub last: Seq,
    /// The users whom the event mentions.
    pub mentions: Vec<UserId>,
    /// If users are mentioned: the sender, who may see the event whatever its visibility is.
    pub sender: String,
    /// The field `visibility` of the record's header; empty if all members see the events.
    pub visibility: String,
}

impl RoomActivity {
    /// The memory that this item needs in a queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let mentioned: usize =
            self.mentions.iter().map(|user| size_of::<UserId>() + user.as_str().len()).sum();
        size_of::<Self>() + self.room.as_str().len() + mentioned + self.sender.len() + self.visibility.len()
    }
}

/// A message that is older than this when it is appended is imported history, of which nobody is told.
const MAX_AGE_MS: u64 = 60_000;

impl MessageRow<'_> {
    /// Whether the message was appended with an earlier time of its own.
    fn is_old(&self) -> bool {
        self.ingest.ms.saturating_sub(u64::try_from(self.record.at_ms).unwrap_or_default()) > MAX_AGE_MS
    }
}

impl BatchPlan<'_> {
    /// The activity of the batch. Events in a row that mention nobody are one item, so a busy room has few items.
    #[must_use]
    pub fn activity(&self) -> Vec<RoomActivity> {
        let mut all = Vec::new();
        for message in self.messages.iter().filter(|message| !message.is_old()) {
            let mentions = message.fields.mentions.as_deref().unwrap_or_default();
            add_event(&mut all, &message.room, message.record, mentions);
        }
        for change in &self.changes {
            if let Action::Edit { mentions: Some(mentions), .. } = &change.action
                && !mentions.is_empty()
            {
                add_event(&mut all, &change.room, change.record, mentions);
            }
        }
        all
    }
}

fn add_event(all: &mut Vec<RoomActivity>, room: &RoomId, record: &Record, mentions: &[UserId]) {
    let mut sender = "";
    if !mentions.is_empty() {
        sender = record.sender();
    } else if !record.visibility().is_empty() {
        // A notice would tell users of a message that they may not see.
        return;
    } else if let Some(last) = all.last_mut()
        && (&last.room, last.epoch) == (room, record.epoch)
        && last.mentions.is_empty()
    {
        last.last = record.seq;
        return;
    }
    all.push(RoomActivity {
        room: room.clone(),
        epoch: record.epoch,
        first: record.seq,
        last: record.seq,
        mentions: mentions.to_vec(),
        sender: sender.to_owned(),
        visibility: record.visibility().to_owned(),
    });
}
