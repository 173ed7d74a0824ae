//! What Redis, and through it people, must hear of once the database holds it: of changes that do not go through a
//! log, which are a room's creation with its first members, and accounts.

use bytes::Bytes;
use sea_orm::ConnectionTrait;
use tidings_shared::ids::{Cursor, RoomId, Seq, UserId};
use tidings_shared::log::Log;
use tidings_shared::membership;
use tidings_shared::people::{self, Notice};
use tidings_shared::protocol::server::ServerFrame;

use crate::account;

/// People told in one go: a thousand first members must not hold up the connection that all commands share.
const AT_ONCE: usize = 200;

/// See the module.
#[derive(Clone, Debug)]
pub enum News {
    /// Memberships of these users changed, or may have.
    Memberships(Vec<UserId>),
    /// A room is there, with these members.
    Room(CreatedRoom),
    /// What is known of this user changed.
    Account(UserId),
}

/// A room whose log is empty yet, as its members hear of it.
#[derive(Clone, Debug)]
pub struct CreatedRoom {
    pub room: RoomId,
    pub kind: String,
    pub name: Option<String>,
    /// With their roles.
    pub members: Vec<(UserId, String)>,
}

impl News {
    /// Tells it. False: not all of it was told, and it is to be told again; nobody minds to hear it twice.
    pub async fn tell(&self, db: &impl ConnectionTrait, log: &Log) -> bool {
        match self {
            Self::Memberships(users) => memberships_changed(log, users).await,
            Self::Room(created) => {
                let users: Vec<UserId> = created.members.iter().map(|(user, _)| user.clone()).collect();
                // The cache first: whoever hears of the room finds nothing there that is older.
                memberships_changed(log, &users).await && created.tell(log).await
            }
            Self::Account(user) => {
                account::changed(db, log, user).await && notify(log, &[(user, Notice::Account)]).await
            }
        }
    }
}

impl CreatedRoom {
    async fn tell(&self, log: &Log) -> bool {
        let Ok(session) = log.session().await else { return false };
        let from = Cursor::new(session.epoch, Seq(0));
        let (room, kind, name) = (&self.room, self.kind.as_str(), self.name.as_deref());
        for members in self.members.chunks(AT_ONCE) {
            let notice = |role: &str| {
                let frame = ServerFrame::RoomAdded { room, kind, name, role, from: &from }.to_json();
                Notice::Membership { room: room.clone(), seq: from.seq, frame: Bytes::from(frame) }
            };
            let notices: Vec<_> = members.iter().map(|(user, role)| (user, notice(role))).collect();
            if !notify(log, &notices).await {
                return false;
            }
        }
        true
    }
}

async fn memberships_changed(log: &Log, users: &[UserId]) -> bool {
    let session = match log.session().await {
        Ok(session) => session,
        Err(error) => {
            tracing::warn!(%error, "Redis is out of reach");
            return false;
        }
    };
    for users in users.chunks(AT_ONCE) {
        if let Err(error) = membership::changed(&mut session.connection(), users).await {
            tracing::warn!(kind = ?error.kind(), code = error.code(), "telling the membership cache failed");
            log.failed(&session, &error);
            return false;
        }
    }
    true
}

async fn notify(log: &Log, notices: &[(&UserId, Notice)]) -> bool {
    let Ok(session) = log.session().await else { return false };
    let mut connection = session.connection();
    let told = people::tell(&mut connection, notices.iter().map(|(user, notice)| (*user, notice)));
    if let Err(error) = told.await {
        tracing::warn!(kind = ?error.kind(), code = error.code(), "telling people failed");
        log.failed(&session, &error);
        return false;
    }
    true
}
