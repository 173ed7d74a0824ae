//! An erased user leaves their rooms through the log. So every member learns of it in order, and the user can append
//! nothing afterwards. The user also leaves direct and archived rooms. If the user is the last owner of a room, another
//! member becomes owner first.

use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_persistence::batch::{MEMBER_CHANGED, MEMBER_REMOVED};
use tidings_persistence::membership::{RoleChange, entry};
use tidings_persistence::query;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{AppendError, Entry, Log, stored::Stored};
use tidings_shared::membership;
use tidings_shared::role::{MinRole, OWNER, REMOVED};
use tokio::time::Instant;

use crate::error::JobError;
use crate::sql::leaving_member::leaving_member;

/// How often a leave is decided again when another change is appended first.
const MAX_ATTEMPTS: usize = 20;
/// How long a leave waits until that other change is stored.
const STORED_TIMEOUT: Duration = Duration::from_secs(5);

/// Leaves one room. Returns when the removal is stored; everything appended to the room before is then stored too.
pub(super) async fn leave(
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
        // If the user is an owner, the decision depends on the other owners and on who could become owner.
        let depends_on_owners = member.role == OWNER;
        let change = RoleChange { kind, role: role.to_owned(), min_role: MinRole::Always, depends_on_owners };
        let entry = Entry {
            allowed_in_archive: true,
            exempt_from_backlog: true,
            ..entry(room, user, affected, &change, member.head)
        };
        match log.append(&entry).await {
            Ok(accepted) => {
                let session = log.session().await.map_err(|error| JobError(error.to_string()))?;
                // If this notice fails, it is sent again when the change is committed.
                let _ = membership::changed(&mut session.connection(), [affected]).await;
                match log.wait_stored(room, &accepted).await {
                    Stored::Here if kind == MEMBER_REMOVED => return Ok(()),
                    Stored::Here => {}
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
