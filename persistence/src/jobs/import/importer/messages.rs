//! Imports batches of messages. Messages of one room are appended in order, and different rooms concurrently.
//! Keeps the order of times: an imported message is appended only at the head that the job knows, and never after a
//! message that is more than a difference of clocks later. Retention and search rely on this order.

use std::collections::{BTreeMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, future::join_all, stream};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{Accepted, AppendError, Entry, stored::Stored};
use tidings_shared::role::MinRole;

use super::{ImportOutcome, Importer, MAX_RETRIES, MAX_STORE_ATTEMPTS, NOT_STORED, RETRY_BACKOFF};
use crate::job_error::JobError;
use crate::jobs::backoff::Backoff;
use crate::jobs::import::line::{CLOCK_TOLERANCE_MS, ImportMessage};
use crate::jobs::import::refusal::RefusalCode;
use crate::jobs::sql::import::{self as sql, ClientIdKey, RoomEnd};
use crate::writer::users::{self, UnknownUserPolicy};

/// Number of rooms to which messages are appended concurrently.
const CONCURRENT_ROOMS: usize = 32;

/// What became of a batch of messages.
pub struct ImportedBatch {
    /// One outcome for each message, in their order.
    pub outcomes: Vec<ImportOutcome>,
    /// Number of edits, reactions and deletions that were appended.
    pub changes: u64,
}

/// A message of a batch, by its index, with its outcome. The seq is that of a stored message.
struct MessageOutcome {
    index: usize,
    outcome: ImportOutcome,
    seq: Option<Seq>,
}

fn key_of(message: &ImportMessage) -> ClientIdKey<'_> {
    (&message.room, &message.sender, &message.client_id)
}

impl Importer {
    /// Imports messages with their changes, and waits until all of them are stored.
    pub async fn import_messages(&self, messages: &[ImportMessage]) -> Result<ImportedBatch, JobError> {
        let erased = sql::erased_users(&self.db, messages.iter().flat_map(ImportMessage::users)).await?;
        self.create_users(messages, &erased).await?;
        // Read before the seqs, so that a message which is not stored has its place after these ends.
        let ends = sql::room_ends(&self.db, messages.iter().map(|message| &message.room)).await?;
        let keys: Vec<ClientIdKey<'_>> = messages.iter().map(key_of).collect();
        let stored = sql::stored_seqs(&self.db, &keys).await?;
        let mut outcomes = vec![ImportOutcome::Exists; messages.len()];
        let mut seqs: Vec<Option<Seq>> = stored;
        let mut seen: HashSet<ClientIdKey<'_>> = HashSet::new();
        let mut rooms: BTreeMap<&RoomId, Vec<usize>> = BTreeMap::new();
        for (index, message) in messages.iter().enumerate() {
            // A second line of the same message is the same as a repeated import.
            if seqs[index].is_some() || !seen.insert(keys[index]) {
                continue;
            }
            if is_of_erased_user(message, &erased) {
                outcomes[index] = ImportOutcome::erased();
            } else if ends.contains_key(&message.room) {
                rooms.entry(&message.room).or_default().push(index);
            } else {
                outcomes[index] = no_room(&message.room);
            }
        }
        let imported = rooms.into_iter().filter_map(|(room, indices)| {
            let end = *ends.get(room)?;
            Some(self.import_into_room(messages, indices, end))
        });
        let mut imported = stream::iter(imported).buffer_unordered(CONCURRENT_ROOMS);
        while let Some(of_room) = imported.try_next().await? {
            for MessageOutcome { index, outcome, seq } in of_room {
                outcomes[index] = outcome;
                seqs[index] = seq;
            }
        }
        let mut changed: BTreeMap<&RoomId, Vec<(&ImportMessage, Seq)>> = BTreeMap::new();
        for (message, seq) in messages.iter().zip(seqs) {
            let Some(seq) = seq else { continue };
            self.reply_targets().insert(&message.room, &message.id, seq);
            if !message.changes.is_empty() {
                changed.entry(&message.room).or_default().push((message, seq));
            }
        }
        let appended = changed.into_iter().map(|(room, messages)| self.import_changes(room, messages));
        let appended = stream::iter(appended).buffer_unordered(CONCURRENT_ROOMS);
        let changes = appended.try_fold(0, |sum, count| async move { Ok(sum + count) }).await?;
        Ok(ImportedBatch { outcomes, changes })
    }

    /// Creates the unknown users whom the messages name, except erased ones, and gives names to senders without one.
    async fn create_users(
        &self,
        messages: &[ImportMessage],
        erased: &HashSet<String>,
    ) -> Result<(), JobError> {
        let is_known = |user: &&UserId| !erased.contains(user.as_str());
        let named = messages.iter().flat_map(ImportMessage::users).filter(is_known);
        users::create_unknown_users(&self.db, named, UnknownUserPolicy::Create).await?;
        let names =
            messages.iter().filter_map(|message| Some((&message.sender, message.sender_name.as_deref()?)));
        Ok(sql::name_users(&self.db, &names.collect()).await?)
    }

    /// Appends messages of one room in order, and waits until all of them are stored. `end` was read before it was
    /// looked up that these messages are not stored.
    async fn import_into_room(
        &self,
        messages: &[ImportMessage],
        indices: Vec<usize>,
        mut end: RoomEnd,
    ) -> Result<Vec<MessageOutcome>, JobError> {
        let mut outcomes = Vec::with_capacity(indices.len());
        let mut pending = indices;
        for attempt in 0..MAX_STORE_ATTEMPTS {
            if attempt > 0 {
                // Messages that Redis lost are appended again in their order, after those that are stored.
                let Some(first) = pending.first() else { break };
                end = self.room_end(&messages[*first].room).await?;
                let keys: Vec<ClientIdKey<'_>> =
                    pending.iter().map(|index| key_of(&messages[*index])).collect();
                let stored = sql::stored_seqs(&self.db, &keys).await?;
                for (index, seq) in std::mem::take(&mut pending).into_iter().zip(stored) {
                    match seq {
                        Some(_) => outcomes.push(MessageOutcome { index, outcome: ImportOutcome::Done, seq }),
                        None => pending.push(index),
                    }
                }
            }
            let mut appended = Vec::new();
            for index in std::mem::take(&mut pending) {
                match self.append_message(&messages[index], &mut end, attempt == 0).await? {
                    Ok(accepted) => {
                        // Later messages of the batch may reply to this one.
                        self.reply_targets().insert(&messages[index].room, &messages[index].id, accepted.seq);
                        appended.push((index, accepted));
                    }
                    Err(outcome) => outcomes.push(MessageOutcome { index, outcome, seq: None }),
                }
            }
            let waits = appended
                .iter()
                .map(|(index, accepted)| self.log.wait_stored(&messages[*index].room, accepted));
            let waits = join_all(waits).await;
            for ((index, accepted), stored) in appended.into_iter().zip(waits) {
                let (outcome, seq) = match stored {
                    Stored::AsAccepted if accepted.duplicate => (ImportOutcome::Exists, Some(accepted.seq)),
                    Stored::AsAccepted => (ImportOutcome::Done, Some(accepted.seq)),
                    Stored::First { seq, .. } => (ImportOutcome::Exists, Some(seq)),
                    Stored::Rejected => (rejected(), None),
                    Stored::Unavailable => {
                        pending.push(index);
                        continue;
                    }
                };
                outcomes.push(MessageOutcome { index, outcome, seq });
            }
            if pending.is_empty() {
                return Ok(outcomes);
            }
        }
        if pending.is_empty() { Ok(outcomes) } else { Err(JobError(NOT_STORED.to_owned())) }
    }

    /// Appends one message after the end of its room, and moves `end`. `looked_up` means that the caller has just found
    /// no such client id in PostgreSQL. Then the append needs no look-up, because Redis itself finds recent client ids.
    async fn append_message(
        &self,
        message: &ImportMessage,
        end: &mut RoomEnd,
        looked_up: bool,
    ) -> Result<Result<Accepted, ImportOutcome>, JobError> {
        let reply_to = message.reply_to.as_ref().and_then(|id| self.reply_targets().get(&message.room, id));
        let draft = match message.draft(reply_to, self.max_message_chars) {
            Ok(draft) => draft,
            Err(refusal) => return Ok(Err(ImportOutcome::Refused(refusal))),
        };
        let mut backoff = Backoff::new(MAX_RETRIES, RETRY_BACKOFF);
        let mut first_attempt = looked_up;
        loop {
            if let Some(at_ms) = message.at_ms {
                match end.last_at_ms {
                    Some(last_ms) if at_ms < last_ms - CLOCK_TOLERANCE_MS => {
                        return Ok(Err(out_of_order(&message.room)));
                    }
                    Some(_) => {}
                    None => sql::begin_history(&self.db, &message.room, end.head, at_ms).await?,
                }
            }
            let entry = Entry {
                allowed_in_archive: true,
                first_attempt,
                imported_at_ms: message.at_ms,
                log_upto: message.at_ms.map(|_| end.head),
                ..draft.entry(&message.room, &message.sender, None, None, MinRole::Anyone)
            };
            match self.log.append(&entry).await {
                Ok(accepted) => {
                    end.head = end.head.max(accepted.seq);
                    end.last_at_ms = end.last_at_ms.max(Some(accepted.at_ms));
                    return Ok(Ok(accepted));
                }
                Err(AppendError::NoSuchRoom) => return Ok(Err(no_room(&message.room))),
                // The erasure of the sender began after `import_messages` read which users are erased.
                Err(AppendError::Revoked) => return Ok(Err(ImportOutcome::erased())),
                Err(AppendError::Rejected) => return Ok(Err(rejected())),
                // Nothing was appended: somebody else uses the room, and the end that the job knows is old.
                Err(AppendError::Stale(seq)) => {
                    *end = self.room_end(&message.room).await?;
                    if end.head < seq {
                        backoff.wait("earlier events of the room are not being stored".to_owned()).await?;
                    }
                    continue;
                }
                Err(error) => backoff.wait(error.to_string()).await?,
            }
            // The failed append may have taken effect, so the next one looks up the client id.
            first_attempt = false;
        }
    }

    async fn room_end(&self, room: &RoomId) -> Result<RoomEnd, JobError> {
        let ends = sql::room_ends(&self.db, [room]).await?;
        ends.get(room).copied().ok_or_else(|| JobError(format!("the room {room} is gone")))
    }
}

/// Whether the sender is erased, or somebody who edited or deleted the message: their texts must not come back.
fn is_of_erased_user(message: &ImportMessage, erased: &HashSet<String>) -> bool {
    let authors = message.changes.iter().filter(|change| !change.is_reaction()).map(|change| &change.by);
    authors.chain([&message.sender]).any(|user| erased.contains(user.as_str()))
}

fn no_room(room: &RoomId) -> ImportOutcome {
    ImportOutcome::refused(RefusalCode::NoRoom, format!("there is no room {room}"))
}

fn out_of_order(room: &RoomId) -> ImportOutcome {
    let reason = format!(
        "the room {room} has a message with a later time; a room takes messages in the order of time"
    );
    ImportOutcome::refused(RefusalCode::OutOfOrder, reason)
}

fn rejected() -> ImportOutcome {
    ImportOutcome::refused(RefusalCode::Rejected, "it could not be written")
}
