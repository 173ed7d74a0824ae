//! Removes an erased user from a room by appending the removal to the room's log. So every member receives the removal
//! in order, and the user can append nothing to the room afterwards. The user also leaves direct and archived rooms. If
//! the user is the only owner of a room, another member is made owner first.

use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{AppendError, Entry, Log, stored::Stored};
use tidings_shared::membership;
use tidings_shared::role::{MinRole, OWNER, REMOVED};
use tokio::time::Instant;

use crate::batch::{MEMBER_CHANGED, MEMBER_REMOVED};
use crate::job_error::JobError;
use crate::membership::{MemberProfile, RoleChange, membership_entry};
use crate::query;
use crate::query::leaving_member::leaving_member;

/// Maximum number of decisions about one removal. A decision is stale if another change of the room was appended before
/// it.
const MAX_ATTEMPTS: usize = 20;
/// How long a stale removal waits until the change that made it stale is stored.
const STORED_TIMEOUT: Duration = Duration::from_secs(5);

/// Removes the user from one room. Returns when the removal and all earlier events of the room are stored.
pub(super) async fn leave_room(
    db: &DatabaseConnection,
    log: &Log,
    room: &RoomId,
    user: &UserId,
) -> Result<(), JobError> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(member) = leaving_member(db, room, user).await? else { return Ok(()) };
        let (kind, affected, role) = match &member.successor {
            Some(successor) => (MEMBER_CHANGED, successor, OWNER),
            None => (MEMBER_REMOVED, user, REMOVED),
        };
        // The removal of an owner depends on the other owners, and on the members who could become owner.
        let depends_on_owners = member.role == OWNER;
        let change = RoleChange { kind, role: role.to_owned(), min_role: MinRole::Always, depends_on_owners };
        let entry = Entry {
            allowed_in_archive: true,
            exempt_from_backlog: true,
            ..membership_entry(room, user, affected, &change, member.head, MemberProfile::default())
        };
        match log.append(&entry).await {
            Ok(accepted) => {
                let session = log.session_of_user(affected).await;
                let session = session.map_err(|error| JobError(error.to_string()))?;
                // If this notice fails, the replica that writes the room's partition sends it again after the commit.
                let _ = membership::invalidate(&mut session.connection(), [affected]).await;
                match log.wait_stored(room, &accepted).await {
                    Stored::AsAccepted if kind == MEMBER_REMOVED => return Ok(()),
                    Stored::AsAccepted => {}
                    other => return Err(JobError(format!("leaving {room}: {other:?}"))),
                }
            }
            Err(AppendError::Stale(seq)) => {
                if !query::wait_until_stored(db, room, seq, Instant::now() + STORED_TIMEOUT).await? {
                    return Err(JobError(format!("{room} is not stored up to {seq}")));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(JobError(format!("the members of {room} change too fast")))
}
