//! Changes memberships by events in the room's log. Reads the stored state, decides, appends on the condition that the
//! state is unchanged, and waits until the event is stored. If another change was appended first, decides again.
//! So a room never loses its last owner, and no user is added or removed twice, without a lock.

mod appending;
mod deciding;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, TransactionTrait};
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    log::{AppendError, Log, keys::Partition},
    membership,
};
use tokio::time::Instant;

use crate::batch::MEMBER_ADDED;
use crate::query::membership_context::membership_context;
use crate::query::wait_until_stored;
use crate::request_error::RequestError;
use crate::writer::daily_limits::{DailyLimits, DailyUse, count_use};
use crate::writer::users::{self, UnknownUserPolicy};

pub use appending::{MemberProfile, check_against_log, membership_entry, wait_stored};
use deciding::{Decision, decide, is_hidden};
pub use deciding::{MembershipLimits, MembershipRequest, Requester, RoleChange};

/// A request fails when other changes have made this many of its decisions stale, or after `DECISION_TIMEOUT`.
const MAX_ATTEMPTS: usize = 10;
/// How long a request may wait until the events that its decision needs are stored.
pub const DECISION_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a request to change a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipOutcome {
    /// The user's role after the request, `removed` if they are not a member.
    pub role: String,
    /// The seq of the event. If nothing changed: the stored head from which the request was decided.
    pub seq: Seq,
}

/// Carries out requests to change memberships.
pub struct MembershipService {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub unknown_users: UnknownUserPolicy,
    pub bounds: MembershipLimits,
    /// The daily limits of each requester without the scope `tidings.admin`; None for an import.
    pub daily_limits: Option<DailyLimits>,
}

impl MembershipService {
    /// Changes the membership of `user` on behalf of `requester`. Returns when the change is stored. If it refuses with
    /// `unavailable`, the change may still be made.
    pub async fn change(
        &self,
        requester: Requester<'_>,
        room: &RoomId,
        user: &UserId,
        request: &MembershipRequest,
    ) -> Result<MembershipOutcome, RequestError> {
        let deadline = Instant::now() + DECISION_TIMEOUT;
        let (mut checked_against_log, mut is_admitted) = (false, false);
        for _ in 0..MAX_ATTEMPTS {
            let max_rooms = i64::from(self.bounds.rooms_of(requester.user, user));
            let snapshot = membership_context(&self.db, room, requester.user, user, max_rooms).await?;
            // A room that the requester may not see is refused only after the query. Otherwise the time of the answer
            // would reveal whether the room exists.
            let snapshot = snapshot.filter(|snapshot| !is_hidden(snapshot, requester, user, request));
            let snapshot = snapshot.ok_or_else(|| Refusal::not_found("room"))?;
            let head = Seq(u64::try_from(snapshot.head_seq).unwrap_or_default());
            let decided = decide(&snapshot, requester, user, request, self.bounds);
            // The requester may have seen events that are accepted but not stored yet. The log compares an append with
            // those events. Any other answer is compared with them here.
            if !checked_against_log && !matches!(decided, Ok(Decision::Append(_))) {
                checked_against_log = true;
                if !check_against_log(&self.db, &self.log, room, head, deadline).await? {
                    continue;
                }
            }
            let change = match decided? {
                Decision::NoChange { role } => return Ok(MembershipOutcome { role, seq: head }),
                Decision::Append(change) => change,
            };
            if change.kind == MEMBER_ADDED && !is_admitted {
                self.admit(requester, user).await?;
                is_admitted = true;
            }
            let profile =
                MemberProfile { name: snapshot.name.as_deref(), picture: snapshot.picture.as_deref() };
            let entry = membership_entry(room, requester.user, user, &change, head, profile);
            match self.log.append(&entry).await {
                Ok(accepted) => {
                    self.invalidate_cache(user).await;
                    wait_stored(&self.log, room, &accepted).await?;
                    return Ok(MembershipOutcome { role: change.role, seq: accepted.seq });
                }
                Err(AppendError::Stale(seq)) => {
                    if !wait_until_stored(&self.db, room, seq, deadline).await? {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::unavailable("the room's members change too fast; retry").into())
    }

    /// Creates the new member's user if the system does not know it. Counts an addition by somebody else in the daily
    /// limits of the requester.
    async fn admit(&self, requester: Requester<'_>, user: &UserId) -> Result<(), RequestError> {
        let transaction = self.db.begin().await?;
        let created = users::create_unknown_users(&transaction, [user], self.unknown_users).await?;
        let new_users = created.ok_or_else(|| Refusal::not_found("user"))?;
        let limits = self.daily_limits.filter(|_| !requester.admin && requester.user != user);
        if let Some(limits) = limits {
            let usage = DailyUse { rooms: 0, members: 1, new_users };
            if let Some(refusal) = count_use(&transaction, requester.user, &limits, usage).await? {
                return Err(refusal.into());
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Invalidates the user's cached memberships. If this fails, ingestion invalidates them when the change is
    /// committed.
    async fn invalidate_cache(&self, user: &UserId) {
        let Some(session) = self.log.current_session(Partition::of_user(user)) else { return };
        if let Err(error) = membership::invalidate(&mut session.connection(), [user]).await {
            self.log.discard_if_unusable(&session, &error);
        }
    }
}
