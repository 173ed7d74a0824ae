//! Notices of changes that do not go through a room's log: the creation of a room with its first members, and changes
//! of accounts and of what a member sets for themselves. After the commit, they invalidate the caches in Redis and
//! inform the connected users.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use tidings_shared::ids::{Cursor, RoomId, Seq, UserId};
use tidings_shared::log::{BySession, Log, Session, keys::Partition};
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

/// The notice and the cache invalidation that a change causes for one user.
struct UserUpdate<'a> {
    user: &'a UserId,
    /// Whether the cached memberships of the user are invalidated.
    invalidates: bool,
    notice: Option<UserNotice>,
}

impl ChangeNotice {
    /// Sends the notice. Returns the users to whom it was not sent completely. It must be sent to them again, which does
    /// no harm.
    pub async fn send(&self, db: &impl ConnectionTrait, log: &Log) -> HashSet<UserId> {
        match self {
            Self::Memberships(users) => {
                let update = |user| UserUpdate { user, invalidates: true, notice: None };
                send_updates(log, users.iter().map(update).collect()).await
            }
            Self::Room(created) => created.send(log).await,
            Self::Account(user) => {
                if !account::refresh_cache(db, log, user).await {
                    return HashSet::from([user.clone()]);
                }
                let notice = Some(UserNotice::Account);
                send_updates(log, vec![UserUpdate { user, invalidates: false, notice }]).await
            }
            Self::RoomList(user) => {
                // The nodes then compare the versions of the user, and send `rooms:changed`.
                let notice = Some(UserNotice::Account);
                send_updates(log, vec![UserUpdate { user, invalidates: true, notice }]).await
            }
        }
    }

    /// Removes all users from the notice except these.
    pub fn retain_users(&mut self, users: &HashSet<UserId>) {
        match self {
            Self::Memberships(all) => all.retain(|user| users.contains(user)),
            Self::Room(created) => created.members.retain(|(user, _)| users.contains(user)),
            Self::Account(_) | Self::RoomList(_) => {}
        }
    }
}

impl CreatedRoom {
    async fn send(&self, log: &Log) -> HashSet<UserId> {
        let session = log.session_of(&self.room).await.ok();
        let from = session.map(|session| Cursor::new(session.epoch, Seq(0)));
        let (room, kind, name) = (&self.room, self.kind.as_str(), self.name.as_deref());
        let notice = |role: &str| {
            let from = from.as_ref()?;
            let frame = ServerFrame::RoomAdded { room, kind, name, role, from }.to_json();
            Some(UserNotice::Membership { room: room.clone(), seq: from.seq, frame: Bytes::from(frame) })
        };
        let members = self.members.iter();
        let updates = members
            .map(|(user, role)| UserUpdate { user, invalidates: true, notice: notice(role) })
            .collect();
        let unsent = send_updates(log, updates).await;
        match from {
            Some(_) => unsent,
            // The frame needs the epoch of the room's partition, so nobody was notified.
            None => self.members.iter().map(|(user, _)| user.clone()).collect(),
        }
    }
}

fn partition_of(update: &UserUpdate<'_>) -> Partition {
    Partition::of_user(update.user)
}

/// Sends updates to users. A shard that does not answer delays and fails only the updates of its own users. Returns the
/// users whose updates were not sent.
async fn send_updates(log: &Log, updates: Vec<UserUpdate<'_>>) -> HashSet<UserId> {
    let (by_session, others) = log.split_by_current_session(updates, partition_of);
    let mut unsent = send_by_session(log, by_session).await;
    if others.is_empty() {
        return unsent;
    }
    // These users come last, because it may take seconds to find that a shard does not answer.
    let users: Vec<UserId> = others.iter().map(|update| update.user.clone()).collect();
    match log.group_by_session(others, partition_of).await {
        Ok(by_session) => unsent.extend(send_by_session(log, by_session).await),
        Err(error) => {
            tracing::warn!(%error, "Redis is unavailable");
            unsent.extend(users);
        }
    }
    unsent
}

/// Returns the users whose notices were not sent.
async fn send_by_session(log: &Log, by_session: BySession<UserUpdate<'_>>) -> HashSet<UserId> {
    let sending: Vec<_> =
        by_session.iter().map(|(session, updates)| send_in_session(log, session, updates)).collect();
    let mut unsent = HashSet::new();
    for ((_, updates), is_sent) in by_session.iter().zip(join_all(sending).await) {
        if !is_sent {
            unsent.extend(updates.iter().map(|update| update.user.clone()));
        }
    }
    unsent
}

/// Returns whether all notices of the session's users were sent.
async fn send_in_session(log: &Log, session: &Arc<Session>, updates: &[UserUpdate<'_>]) -> bool {
    let mut connection = session.connection();
    let sending = async {
        for updates in updates.chunks(MAX_USERS_PER_REQUEST) {
            // The cache is invalidated first, because a notified user must not read the old memberships.
            let outdated: Vec<&UserId> =
                updates.iter().filter(|update| update.invalidates).map(|update| update.user).collect();
            membership::invalidate(&mut connection, outdated).await?;
            let notices: Vec<(&UserId, &UserNotice)> =
                updates.iter().filter_map(|update| Some((update.user, update.notice.as_ref()?))).collect();
            people::publish(&mut connection, notices).await?;
        }
        Ok(())
    };
    let sent = sending.await.map_err(|error| {
        log.discard_if_unusable(session, &error);
        tracing::warn!(kind = ?error.kind(), code = error.code(), "notifying users of a change failed");
    });
    sent.is_ok()
}
