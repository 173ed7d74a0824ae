//! Notices of changes that do not go through a room's log: the creation of a room with its first members, and changes
//! of accounts and of what a member sets for themselves. After the commit, they invalidate the caches in Redis and
//! inform the connected users.

use bytes::Bytes;
use sea_orm::ConnectionTrait;
use tidings_shared::ids::{Cursor, RoomId, Seq, UserId};
use tidings_shared::log::{Log, keys::Partition};
use tidings_shared::membership;
use tidings_shared::people::{self, UserNotice};
use tidings_shared::protocol::server::ServerFrame;

use crate::account;

/// Users in one Redis request. Limited, because a thousand members would block the connection that all commands share.
const MAX_USERS_PER_REQUEST: usize = 200;

/// A change after which cached values must be invalidated and users must be notified.
#[derive(Clone, Debug)]
pub enum ChangeNotice {
    /// The memberships of these users changed or may have changed.
    Memberships(Vec<UserId>),
    Room(CreatedRoom),
    Account(UserId),
    /// The user's list of rooms changed, but no membership.
    RoomList(UserId),
}

/// A new room with an empty log: the content of the notice to its members.
#[derive(Clone, Debug)]
pub struct CreatedRoom {
    pub room: RoomId,
    pub kind: String,
    pub name: Option<String>,
    /// The first members with their roles.
    pub members: Vec<(UserId, String)>,
}

impl ChangeNotice {
    /// Sends the notice. Returns false if a part was not sent; then it must be sent again, which does no harm.
    pub async fn send(&self, db: &impl ConnectionTrait, log: &Log) -> bool {
        match self {
            Self::Memberships(users) => invalidate_memberships(log, users).await,
            Self::Room(created) => {
                let users: Vec<UserId> = created.members.iter().map(|(user, _)| user.clone()).collect();
                // The cache is invalidated first, because a notified user must not read the old memberships.
                invalidate_memberships(log, &users).await && created.send(log).await
            }
            Self::Account(user) => {
                account::refresh_cache(db, log, user).await
                    && notify(log, &[(user, UserNotice::Account)]).await
            }
            Self::RoomList(user) => {
                // The nodes then compare the versions of the user, and send `rooms:changed`.
                invalidate_memberships(log, std::slice::from_ref(user)).await
                    && notify(log, &[(user, UserNotice::Account)]).await
            }
        }
    }
}

impl CreatedRoom {
    async fn send(&self, log: &Log) -> bool {
        let Ok(session) = log.session_of(&self.room).await else { return false };
        let from = Cursor::new(session.epoch, Seq(0));
        let (room, kind, name) = (&self.room, self.kind.as_str(), self.name.as_deref());
        for members in self.members.chunks(MAX_USERS_PER_REQUEST) {
            let notice = |role: &str| {
                let frame = ServerFrame::RoomAdded { room, kind, name, role, from: &from }.to_json();
                UserNotice::Membership { room: room.clone(), seq: from.seq, frame: Bytes::from(frame) }
            };
            let notices: Vec<_> = members.iter().map(|(user, role)| (user, notice(role))).collect();
            if !notify(log, &notices).await {
                return false;
            }
        }
        true
    }
}

async fn invalidate_memberships(log: &Log, users: &[UserId]) -> bool {
    let by_session = log.group_by_session(users.to_vec(), Partition::of_user).await;
    let by_session = by_session.inspect_err(|error| tracing::warn!(%error, "Redis is unavailable"));
    let Ok(by_session) = by_session else { return false };
    for (session, users) in by_session {
        for users in users.chunks(MAX_USERS_PER_REQUEST) {
            if let Err(error) = membership::invalidate(&mut session.connection(), users).await {
                tracing::warn!(kind = ?error.kind(), code = error.code(), "invalidating the membership cache failed");
                log.discard_if_unusable(&session, &error);
                return false;
            }
        }
    }
    true
}

async fn notify(log: &Log, notices: &[(&UserId, UserNotice)]) -> bool {
    let notices: Vec<(&UserId, &UserNotice)> = notices.iter().map(|(user, notice)| (*user, notice)).collect();
    let by_session = log.group_by_session(notices, |(user, _)| Partition::of_user(user)).await;
    let Ok(by_session) = by_session else { return false };
    for (session, notices) in by_session {
        let sent = people::publish(&mut session.connection(), notices).await;
        if let Err(error) = sent {
            tracing::warn!(kind = ?error.kind(), code = error.code(), "notifying users failed");
            log.discard_if_unusable(&session, &error);
            return false;
        }
    }
    true
}
