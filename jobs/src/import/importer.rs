//! Imports parsed lines: writes users and rooms into the database, appends members and messages to the log, and waits
//! until each is stored. Messages of one room are appended in order, and different rooms concurrently.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use sea_orm::DatabaseConnection;
use tidings_persistence::membership::{MembershipLimits, MembershipRequest, MembershipService, Requester};
use tidings_persistence::query;
use tidings_persistence::request_error::RequestError;
use tidings_persistence::writer::failure;
use tidings_persistence::writer::rooms::{CreationOutcome, NewRoom, create_room};
use tidings_persistence::writer::users::{self, UnknownUserPolicy};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{Accepted, AppendError, Entry, Log, keys::Partition, stored::Stored};
use tidings_shared::membership;
use tidings_shared::role::MinRole;

use super::line::{ImportMessage, SkippedMessage};
use super::reply_targets::ReplyTargets;
use crate::backoff::Backoff;
use crate::error::JobError;
use crate::sql::import as sql;

/// Number of rooms to which messages are appended concurrently.
const CONCURRENT_ROOMS: usize = 32;
/// Number of retries after temporary failures. With the pauses of `RETRY_BACKOFF` they take about ten minutes.
const MAX_RETRIES: u32 = 65;
/// How many times a message is appended if it does not become stored. Each attempt waits for half a minute.
const MAX_STORE_ATTEMPTS: u32 = 20;
const RETRY_BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// Number of messages that one statement looks up.
const MAX_LOOK_UPS_PER_STATEMENT: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    Done,
    /// The user, room, member or message of the line already existed.
    Exists,
    /// The line cannot be imported, for this reason.
    Refused(String),
}

impl ImportOutcome {
    fn erased() -> Self {
        Self::Refused("it belongs to an erased user".to_owned())
    }
}

pub struct Importer {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub max_message_chars: usize,
    pub memberships: MembershipService,
    reply_targets: Mutex<ReplyTargets>,
}

impl Importer {
    /// Creates an importer. `max_message_chars` is the longest text of a message, in Unicode scalar values.
    #[must_use]
    pub fn new(db: DatabaseConnection, log: Arc<Log>, max_message_chars: usize) -> Self {
        // The limits for clients do not apply, because the imported memberships existed in the other system.
        let bounds = MembershipLimits { members_per_room: u32::MAX, rooms_per_user: u32::MAX };
        let memberships = MembershipService {
            db: db.clone(),
            log: log.clone(),
            unknown_users: UnknownUserPolicy::Create,
            bounds,
        };
        Self { db, log, max_message_chars, memberships, reply_targets: Mutex::default() }
    }

    /// Creates a user, or changes the name and picture of a known user. Without a change the outcome is `Exists`.
    pub async fn import_user(
        &self,
        user: &UserId,
        name: Option<&str>,
        picture: Option<&str>,
    ) -> Result<ImportOutcome, JobError> {
        if let Some(outcome) = self.refuse_erased([user]).await? {
            return Ok(outcome);
        }
        let admitted = users::admit(&self.db, user, name, picture, UnknownUserPolicy::Create).await?;
        Ok(if admitted.is_some_and(|admitted| admitted.written) {
            ImportOutcome::Done
        } else {
            ImportOutcome::Exists
        })
    }

    /// Creates the room of a line. `has_id` tells whether the line contained the room's id.
    pub async fn import_room(&self, room: &NewRoom, has_id: bool) -> Result<ImportOutcome, JobError> {
        let members = room.members.iter().map(|(user, _)| user);
        if let Some(outcome) = self.refuse_erased(members.chain([&room.creator])).await? {
            let exists = has_id && query::stored_head(&self.db, &room.id).await?.is_some();
            return Ok(if exists { ImportOutcome::Exists } else { outcome });
        }
        let outcome = match create_room(&self.db, room, UnknownUserPolicy::Create).await? {
            CreationOutcome::Created => ImportOutcome::Done,
            CreationOutcome::IdTaken => ImportOutcome::Exists,
            CreationOutcome::Exists(id) if !has_id || id == room.id => ImportOutcome::Exists,
            CreationOutcome::Exists(id) => {
                ImportOutcome::Refused(format!("the two users already have the direct room {id}"))
            }
            CreationOutcome::UnknownMember => {
                ImportOutcome::Refused("a member is unknown or erased".to_owned())
            }
        };
        if outcome == ImportOutcome::Done {
            let members: Vec<&UserId> = room.members.iter().map(|(user, _)| user).collect();
            let by_session = self.log.group_by_session(members, |user| Partition::of_user(user)).await;
            for (session, members) in by_session.map_err(|error| JobError(error.to_string()))? {
                // If this notice fails, the cached memberships expire within an hour.
                let _ = membership::invalidate(&mut session.connection(), members).await;
            }
        }
        Ok(outcome)
    }

    /// Makes a user a member with this role, or gives a member this role, and waits until the change is stored. The
    /// outcome is `Done` even if the member already had the role.
    pub async fn import_member(
        &self,
        room: &RoomId,
        user: &UserId,
        role: &str,
    ) -> Result<ImportOutcome, JobError> {
        if let Some(outcome) = self.refuse_erased([user]).await? {
            return Ok(outcome);
        }
        let request = MembershipRequest::Put(Some(role.to_owned()));
        let mut backoff = Backoff::new(MAX_RETRIES, RETRY_BACKOFF);
        loop {
            let requester = Requester { user, admin: true };
            match self.memberships.change(requester, room, user, &request).await {
                Ok(_) => return Ok(ImportOutcome::Done),
                Err(RequestError::Refused(refusal)) if refusal.retry_after_ms.is_none() => {
                    return Ok(ImportOutcome::Refused(refusal.message));
                }
                Err(RequestError::Database(error)) if !failure::is_connection_error(&error) => {
                    return Err(error.into());
                }
                Err(error) => backoff.wait(error.to_string()).await?,
            }
        }
    }

    async fn refuse_erased<'a>(
        &self,
        users: impl IntoIterator<Item = &'a UserId>,
    ) -> Result<Option<ImportOutcome>, JobError> {
        let erased = sql::erased_users(&self.db, users).await?;
        Ok((!erased.is_empty()).then(ImportOutcome::erased))
    }

    /// Looks up the seqs of messages that earlier runs imported, and keeps them as targets of replies.
    pub async fn look_up_skipped(&self, skipped: &[SkippedMessage]) -> Result<(), JobError> {
        for skipped in skipped.chunks(MAX_LOOK_UPS_PER_STATEMENT) {
            let keys = skipped.iter().map(|skipped| (&skipped.room, &skipped.sender, &*skipped.client_id));
            let keys: Vec<_> = keys.collect();
            for (skipped, seq) in skipped.iter().zip(sql::stored_seqs(&self.db, &keys).await?) {
                if let Some(seq) = seq {
                    self.reply_targets().insert(&skipped.room, &skipped.id, seq);
                }
            }
        }
        Ok(())
    }

    /// Imports messages. Returns one outcome for each message, in the same order.
    pub async fn import_messages(&self, messages: &[ImportMessage]) -> Result<Vec<ImportOutcome>, JobError> {
        let erased = sql::erased_users(&self.db, messages.iter().map(|message| &message.sender)).await?;
        let senders = messages.iter().map(|message| &message.sender);
        let senders: HashSet<&UserId> = senders.filter(|sender| !erased.contains(sender.as_str())).collect();
        users::create_unknown_users(&self.db, senders, UnknownUserPolicy::Create).await?;
        let keys = messages.iter().map(|message| (&message.room, &message.sender, &*message.client_id));
        let keys: Vec<_> = keys.collect();
        let stored = sql::stored_seqs(&self.db, &keys).await?;
        let mut outcomes = vec![ImportOutcome::Exists; messages.len()];
        let mut rooms: BTreeMap<&RoomId, Vec<usize>> = BTreeMap::new();
        for (index, (message, stored)) in messages.iter().zip(stored).enumerate() {
            match stored {
                Some(seq) => self.remember_seq(message, seq),
                None if erased.contains(message.sender.as_str()) => outcomes[index] = ImportOutcome::erased(),
                None => rooms.entry(&message.room).or_default().push(index),
            }
        }
        let imported = rooms.into_values().map(|indices| self.import_into_room(messages, indices));
        let imported: Vec<_> = stream::iter(imported).buffer_unordered(CONCURRENT_ROOMS).collect().await;
        for imported in imported {
            for (index, outcome) in imported? {
                outcomes[index] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// Appends messages of one room in order, then waits until all of them are stored.
    async fn import_into_room(
        &self,
        messages: &[ImportMessage],
        indices: Vec<usize>,
    ) -> Result<Vec<(usize, ImportOutcome)>, JobError> {
        let mut outcomes = Vec::with_capacity(indices.len());
        let mut appended = Vec::new();
        for index in indices {
            match self.append_message(&messages[index], true).await? {
                Ok(accepted) => {
                    self.remember_seq(&messages[index], accepted.seq);
                    appended.push((index, accepted));
                }
                Err(outcome) => outcomes.push((index, outcome)),
            }
        }
        let stored =
            appended.iter().map(|(index, accepted)| self.wait_stored_or_retry(&messages[*index], accepted));
        for ((index, _), outcome) in appended.iter().zip(join_all(stored).await) {
            outcomes.push((*index, outcome?));
        }
        Ok(outcomes)
    }

    /// Appends one message. `looked_up` means that the caller has just found no such client id in PostgreSQL. Then the
    /// append needs no look-up, because Redis itself finds recent client ids.
    async fn append_message(
        &self,
        message: &ImportMessage,
        looked_up: bool,
    ) -> Result<Result<Accepted, ImportOutcome>, JobError> {
        let reply_to = message.reply_to.as_ref().and_then(|id| self.reply_targets().get(&message.room, id));
        let draft = match message.draft(reply_to, self.max_message_chars) {
            Ok(draft) => draft,
            Err(reason) => return Ok(Err(ImportOutcome::Refused(reason))),
        };
        let mut backoff = Backoff::new(MAX_RETRIES, RETRY_BACKOFF);
        let mut first_attempt = looked_up;
        loop {
            let entry = Entry {
                allowed_in_archive: true,
                first_attempt,
                ..draft.entry(&message.room, &message.sender, None, None, MinRole::Anyone)
            };
            match self.log.append(&entry).await {
                Ok(accepted) => return Ok(Ok(accepted)),
                Err(AppendError::NoSuchRoom) => {
                    return Ok(Err(ImportOutcome::Refused(format!("there is no room {}", message.room))));
                }
                // The erasure of the sender began after `import_messages` read which senders are erased.
                Err(AppendError::Revoked) => return Ok(Err(ImportOutcome::erased())),
                Err(AppendError::Rejected) => {
                    return Ok(Err(ImportOutcome::Refused("it could not be written".to_owned())));
                }
                Err(error) => backoff.wait(error.to_string()).await?,
            }
            // The failed append may have taken effect, so the next one looks up the client id.
            first_attempt = false;
        }
    }

    async fn wait_stored_or_retry(
        &self,
        message: &ImportMessage,
        accepted: &Accepted,
    ) -> Result<ImportOutcome, JobError> {
        let mut accepted = accepted.clone();
        for _ in 0..MAX_STORE_ATTEMPTS {
            match self.log.wait_stored(&message.room, &accepted).await {
                Stored::AsAccepted if accepted.duplicate => return Ok(ImportOutcome::Exists),
                Stored::AsAccepted => return Ok(ImportOutcome::Done),
                Stored::First { seq, .. } => {
                    self.remember_seq(message, seq);
                    return Ok(ImportOutcome::Exists);
                }
                Stored::Rejected => return Ok(ImportOutcome::Refused("it could not be written".to_owned())),
                Stored::Unavailable => match self.append_message(message, false).await? {
                    Ok(again) => accepted = again,
                    Err(outcome) => return Ok(outcome),
                },
            }
        }
        Err(JobError("appended messages are not being stored: is a persistence node running?".to_owned()))
    }

    fn remember_seq(&self, message: &ImportMessage, seq: Seq) {
        self.reply_targets().insert(&message.room, &message.id, seq);
    }

    fn reply_targets(&self) -> std::sync::MutexGuard<'_, ReplyTargets> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.reply_targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
