//! Imports parsed lines: writes users, rooms and read marks into the database, appends members, messages and their
//! changes to the log, and waits until each is stored. Only the log numbers events, so an import breaks no promise to the
//! clients of a room.

mod changes;
mod messages;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::error::ErrorCode;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{Log, keys::Partition};
use tidings_shared::membership;

use super::line::SkippedMessage;
use super::refusal::{LineRefusal, RefusalCode};
use super::reply_targets::ReplyTargets;
use crate::job_error::JobError;
use crate::jobs::backoff::Backoff;
use crate::jobs::sql::import::{self as sql, MarkOutcome};
use crate::membership::{MembershipLimits, MembershipRequest, MembershipService, Requester};
use crate::query;
use crate::request_error::RequestError;
use crate::writer::failure;
use crate::writer::rooms::{CreationOutcome, NewRoom, create_room};
use crate::writer::users::{self, UnknownUserPolicy};

pub use messages::ImportedBatch;

/// Number of retries after temporary failures. With the pauses of `RETRY_BACKOFF` they take about ten minutes.
const MAX_RETRIES: u32 = 65;
/// How many times an event is appended if it does not become stored. Each attempt waits for half a minute.
const MAX_STORE_ATTEMPTS: u32 = 20;
const NOT_STORED: &str = "appended events are not being stored: is a persistence node running?";
const RETRY_BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// Number of messages that one statement looks up.
const MAX_LOOK_UPS_PER_STATEMENT: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    Done,
    /// The user, room, member or message of the line already existed.
    Exists,
    Refused(LineRefusal),
}

impl ImportOutcome {
    fn refused(code: RefusalCode, reason: impl std::fmt::Display) -> Self {
        Self::Refused(LineRefusal::new(code, reason))
    }

    fn erased() -> Self {
        Self::refused(RefusalCode::Erased, "it belongs to an erased user")
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
        let bounds = MembershipLimits {
            members_per_room: u32::MAX,
            rooms_per_user: u32::MAX,
            rooms_by_others: u32::MAX,
        };
        let memberships = MembershipService {
            db: db.clone(),
            log: log.clone(),
            unknown_users: UnknownUserPolicy::Create,
            bounds,
            daily_limits: None,
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
        let outcome = match create_room(&self.db, room, UnknownUserPolicy::Create, None).await? {
            CreationOutcome::Created => ImportOutcome::Done,
            CreationOutcome::IdTaken => ImportOutcome::Exists,
            CreationOutcome::Exists(id) if !has_id || id == room.id => ImportOutcome::Exists,
            CreationOutcome::Exists(id) => {
                let reason = format!("the two users already have the direct room {id}");
                ImportOutcome::refused(RefusalCode::Conflict, reason)
            }
            CreationOutcome::UnknownMember => {
                ImportOutcome::refused(RefusalCode::Erased, "a member is unknown or erased")
            }
            CreationOutcome::OverDailyLimit(refusal) => {
                ImportOutcome::refused(RefusalCode::Rejected, refusal.message)
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
                    let code = match refusal.code {
                        ErrorCode::NotFound => RefusalCode::NoRoom,
                        _ => RefusalCode::Conflict,
                    };
                    return Ok(ImportOutcome::refused(code, refusal.message));
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

    /// Moves the read mark of a member forward to the last message up to a time. `at_ms` is when the user read it.
    pub async fn import_read_mark(
        &self,
        room: &RoomId,
        user: &UserId,
        [upto_ms, at_ms]: [i64; 2],
    ) -> Result<ImportOutcome, JobError> {
        Ok(match sql::move_read_mark(&self.db, room, user, upto_ms, at_ms).await? {
            MarkOutcome::Moved => ImportOutcome::Done,
            MarkOutcome::NotMoved => ImportOutcome::Exists,
            MarkOutcome::NoMember => {
                ImportOutcome::refused(RefusalCode::NoMember, format!("{user} is no member of a room {room}"))
            }
        })
    }

    fn reply_targets(&self) -> std::sync::MutexGuard<'_, ReplyTargets> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.reply_targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
