//! An erased user leaves their rooms through the logs, so that every member learns of it in order, and so that nothing
//! of theirs can be appended after it. Direct and archived rooms are left too; a last owner makes another member owner
//! first.

use sea_orm::DatabaseConnection;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{AppendError, Entry, KnownUpto, Log, stored::Stored};
use tidings_shared::membership;
use tidings_shared::message::events::MemberBody;
use tidings_shared::role::{MinRole, OWNER, REMOVED};

use super::ErasureError;
use crate::ingest::batch::{MEMBER_CHANGED, MEMBER_REMOVED};
use crate::query;
use crate::query::leaving_member::leaving_member;

/// How often a leave is decided anew when other changes overtake it.
const MAX_ATTEMPTS: usize = 20;
/// Between two looks whether the overtaking change is stored.
const STORED_POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);
const STORED_POLLS: usize = 100;

/// Leaves one room; returns when that is stored. Everything appended to the room before is then stored too.
pub(super) async fn leave(
    db: &DatabaseConnection,
    log: &Log,
    room: &RoomId,
    user: &UserId,
) -> Result<(), ErasureError> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(membership_row) = leaving_member(db, room, user).await? else { return Ok(()) };
        let head = Seq(u64::try_from(membership_row.head_seq).unwrap_or_default());
        let Some(role) = &membership_row.role else { return Ok(()) };
        let successor = membership_row.successor.as_deref().map(UserId::parse).transpose();
        let successor = successor.map_err(|error| ErasureError::Unavailable(error.to_string()))?;
        let (kind, whose, becomes) = match &successor {
            Some(successor) => (MEMBER_CHANGED, successor, OWNER),
            None => (MEMBER_REMOVED, user, REMOVED),
        };
        let removed = kind == MEMBER_REMOVED;
        let body = MemberBody { user: whose, role: (!removed).then_some(becomes), by: user };
        let body = serde_json::to_string(&body).expect("strings always serialise");
        let entry = Entry {
            sender: Some(user),
            membership: Some((whose, becomes)),
            // For an owner, the decision depends on the other owners and on who could become one.
            members_upto: Some(if role == OWNER { KnownUpto::Room(head) } else { KnownUpto::User(head) }),
            members_delta: if removed { -1 } else { 0 },
            min_role: MinRole::Always,
            allowed_in_archive: true,
            exempt_from_backlog: true,
            ..Entry::new(room, kind, body)
        };
        match log.append(&entry).await {
            Ok(accepted) => {
                let session =
                    log.session().await.map_err(|error| ErasureError::Unavailable(error.to_string()))?;
                // The ingest owner sends it again when it is committed.
                let _ = membership::changed(&mut session.connection(), [whose]).await;
                match log.wait_stored(room, &accepted).await {
                    Stored::Here if removed => return Ok(()),
                    Stored::Here => {}
                    other => return Err(ErasureError::Unavailable(format!("leaving {room}: {other:?}"))),
                }
            }
            Err(AppendError::Stale(seq)) => wait_until_stored(db, room, seq).await?,
            Err(error) => return Err(ErasureError::Unavailable(error.to_string())),
        }
    }
    Err(ErasureError::Unavailable(format!("the members of {room} change too fast")))
}

async fn wait_until_stored(db: &DatabaseConnection, room: &RoomId, seq: Seq) -> Result<(), ErasureError> {
    for _ in 0..STORED_POLLS {
        let head = query::stored_head(db, room).await?;
        if head.and_then(|head| u64::try_from(head).ok()).is_none_or(|head| head >= seq.0) {
            return Ok(());
        }
        tokio::time::sleep(STORED_POLL_INTERVAL).await;
    }
    Err(ErasureError::Unavailable(format!("{room} is not stored up to {seq}")))
}
