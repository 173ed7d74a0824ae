//! A user who is erased leaves their rooms through the logs, so that everyone hears of it, in its place, and so that
//! nothing of theirs can be appended behind it. Direct and archived rooms are left too; the last owner hands the room on.

use sea_orm::DatabaseConnection;
use serde::Serialize;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{AppendError, Entry, KnownUpto, Log, Minimum, stored::Stored};
use tidings_shared::membership;
use tidings_shared::role::{OWNER, REMOVED};

use super::ErasureError;
use crate::ingest::batch::{MEMBER_CHANGED, MEMBER_REMOVED};
use crate::query;
use crate::query::leaving::leaving;

/// What another change overtakes is read and decided anew; so often.
const ROUNDS: usize = 20;
/// What overtook it is stored by then.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
const PAUSES: usize = 100;

#[derive(Serialize)]
struct Body<'a> {
    user: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    by: &'a UserId,
}

/// Leaves one room; returns when that is stored. All that was appended there before it is stored then too.
pub(super) async fn leave(
    db: &DatabaseConnection,
    log: &Log,
    room: &RoomId,
    user: &UserId,
) -> Result<(), ErasureError> {
    for _ in 0..ROUNDS {
        let Some(standing) = leaving(db, room, user).await? else { return Ok(()) };
        let head = Seq(u64::try_from(standing.head_seq).unwrap_or_default());
        let Some(role) = &standing.role else { return Ok(()) };
        let heir = standing.heir.as_deref().map(UserId::parse).transpose();
        let heir = heir.map_err(|error| ErasureError::Unavailable(error.to_string()))?;
        let (kind, whose, becomes) = match &heir {
            Some(heir) => (MEMBER_CHANGED, heir, OWNER),
            None => (MEMBER_REMOVED, user, REMOVED),
        };
        let removed = kind == MEMBER_REMOVED;
        let body = Body { user: whose, role: (!removed).then_some(becomes), by: user };
        let body = serde_json::to_string(&body).expect("strings always serialise");
        let entry = Entry {
            sender: Some(user),
            membership: Some((whose, becomes)),
            // Of an owner it hangs on who else is one, and on who is there to become one.
            members_upto: Some(if role == OWNER { KnownUpto::Room(head) } else { KnownUpto::User(head) }),
            members_delta: if removed { -1 } else { 0 },
            minimum: Minimum::Always,
            allowed_in_archive: true,
            exempt_from_backlog: true,
            ..Entry::new(room, kind, body)
        };
        match log.append(&entry).await {
            Ok(accepted) => {
                let session =
                    log.session().await.map_err(|error| ErasureError::Unavailable(error.to_string()))?;
                // The ingest owner tells of it again once it is committed.
                let _ = membership::changed(&mut session.connection(), [whose]).await;
                match log.wait_stored(room, &accepted).await {
                    Stored::Here if removed => return Ok(()),
                    Stored::Here => {}
                    other => return Err(ErasureError::Unavailable(format!("leaving {room}: {other:?}"))),
                }
            }
            Err(AppendError::Stale(seq)) => until_stored(db, room, seq).await?,
            Err(error) => return Err(ErasureError::Unavailable(error.to_string())),
        }
    }
    Err(ErasureError::Unavailable(format!("the members of {room} change too fast")))
}

async fn until_stored(db: &DatabaseConnection, room: &RoomId, seq: Seq) -> Result<(), ErasureError> {
    for _ in 0..PAUSES {
        let head = query::stored_head(db, room).await?;
        if head.and_then(|head| u64::try_from(head).ok()).is_none_or(|head| head >= seq.0) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ErasureError::Unavailable(format!("{room} is not stored up to {seq}")))
}
