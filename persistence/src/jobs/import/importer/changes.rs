//! Imports the edits, reactions and deletions of stored messages. What is missing is looked up and appended until nothing
//! is missing, so a change that was lost or refused meanwhile is decided again from the stored state.

use futures_util::future::join_all;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{AppendError, Entry, stored::Stored};
use tidings_shared::message::change::{Action, Change};
use tidings_shared::message::{AckStage, Target};
use tidings_shared::role::MinRole;

use super::{Importer, MAX_RETRIES, MAX_STORE_ATTEMPTS, NOT_STORED, RETRY_BACKOFF};
use crate::job_error::JobError;
use crate::jobs::backoff::Backoff;
use crate::jobs::import::line::{ImportChange, ImportMessage};
use crate::jobs::sql::import as sql;
use crate::query::change_targets::{TargetLookup, find_target};

/// A change that is not in the log of its room.
struct MissingChange<'a> {
    change: &'a ImportChange,
    target: Target,
    seq: Seq,
}

impl Importer {
    /// Appends the changes of stored messages of a room that are not stored yet, and waits until they are. Returns how
    /// many were appended. A message that is deleted here takes no more changes.
    pub(super) async fn import_changes(
        &self,
        room: &RoomId,
        messages: Vec<(&ImportMessage, Seq)>,
    ) -> Result<u64, JobError> {
        let mut backoff = Backoff::new(MAX_RETRIES, RETRY_BACKOFF);
        let mut appended = 0;
        for _ in 0..MAX_STORE_ATTEMPTS {
            let missing = self.missing_changes(room, &messages).await?;
            if missing.is_empty() {
                return Ok(appended);
            }
            let mut accepted = Vec::with_capacity(missing.len());
            for MissingChange { change, target, seq } in &missing {
                let command = Change {
                    target: *seq,
                    id: None,
                    client_id: change.client_id.clone(),
                    ack: AckStage::Stored,
                    action: change.action.clone(),
                };
                let entry = Entry {
                    allowed_in_archive: true,
                    imported_at_ms: Some(change.at_ms),
                    ..command.entry(room, &change.by, target, MinRole::Anyone)
                };
                match self.log.append(&entry).await {
                    Ok(event) => accepted.push(event),
                    // A message was deleted, or the erasure of a user began. The next look-up finds it.
                    Err(AppendError::Stale(_) | AppendError::Revoked) => {}
                    Err(error) => backoff.wait(error.to_string()).await?,
                }
            }
            if accepted.is_empty() {
                backoff.wait("the changes of messages are not accepted".to_owned()).await?;
            }
            let stored = join_all(accepted.iter().map(|event| self.log.wait_stored(room, event))).await;
            let is_new = accepted.iter().zip(stored);
            let is_new = is_new.filter(|(event, stored)| *stored == Stored::AsAccepted && !event.duplicate);
            appended += is_new.count() as u64;
        }
        Err(JobError(NOT_STORED.to_owned()))
    }

    /// The changes that are not in the log: first edits and reactions, then deletions, because a deleted message takes no
    /// other change. Without those of erased users.
    async fn missing_changes<'a>(
        &self,
        room: &RoomId,
        messages: &[(&'a ImportMessage, Seq)],
    ) -> Result<Vec<MissingChange<'a>>, JobError> {
        let erased =
            sql::erased_users(&self.db, messages.iter().flat_map(|(message, _)| message.users())).await?;
        let (mut candidates, mut deletions) = (Vec::new(), Vec::new());
        for (message, seq) in messages {
            let TargetLookup::Message(target) = find_target(&self.db, room, *seq).await? else { continue };
            if target.deleted {
                continue;
            }
            for change in message.changes.iter().filter(|change| !erased.contains(change.by.as_str())) {
                let list = match change.action {
                    Action::Delete => &mut deletions,
                    _ => &mut candidates,
                };
                list.push(MissingChange { change, target: target.clone(), seq: *seq });
            }
        }
        let keys =
            candidates.iter().map(|missing| (&missing.change.by, missing.seq, &missing.change.client_id));
        let keys: Vec<sql::ChangeKey<'_>> = keys.collect();
        let mut stored = sql::stored_changes(&self.db, room, &keys).await?.into_iter();
        candidates.retain(|_| !stored.next().unwrap_or_default());
        candidates.extend(deletions);
        Ok(candidates)
    }
}
