//! Requests of gateways for presence. They ask for the members of a small room, the users whose presence a user may
//! see, and the rooms that receive a change of presence.

use super::InternalClient;
use crate::{
    ids::{RoomId, Seq, UserId},
    log::AuthorityError,
};

pub const MEMBERS_PATH: &str = "/internal/v1/members";
pub const ACQUAINTED_PATH: &str = "/internal/v1/acquainted";
pub const SMALL_ROOMS_PATH: &str = "/internal/v1/small-rooms";

json_types! {
    /// Asks for the members of a room, if the room is small enough for presence.
    pub struct MembersRequest { pub room: RoomId }

    /// The members of a room and its head, read together.
    #[derive(Clone)]
    pub struct MembersAnswer {
        /// The room's stored head at the time when the list was read.
        pub head: Seq,
        /// The members, or `None` if the room has too many members for presence, or does not exist.
        pub users: Option<Vec<UserId>>,
    }

    /// Asks which users of `others` share a room with `user`, so that `user` may see their presence.
    pub struct AcquaintedRequest { pub user: UserId, pub others: Vec<UserId> }

    /// The answer to an [`AcquaintedRequest`].
    pub struct AcquaintedAnswer {
        /// The users of `others` who share a room with the user, unordered. Includes the user if `others` does.
        pub users: Vec<LastSeen>,
    }

    /// When a user was last seen, in milliseconds since the Unix epoch, or `None` if no time is stored.
    #[derive(Clone, PartialEq, Eq)]
    pub struct LastSeen { pub user: UserId, pub at_ms: Option<i64> }

    /// Asks for the rooms of a user that have few members (`MAX_SMALL_ROOM_MEMBERS`). Sent for a user who has more
    /// rooms than one look-up in the membership cache reads.
    pub struct SmallRoomsRequest { pub user: UserId }

    /// The user's most recently active small rooms, at most [`crate::presence::MAX_NOTIFIED_ROOMS`].
    pub struct SmallRoomsAnswer { pub rooms: Vec<RoomId> }
}

impl InternalClient {
    /// Returns the members of a room, or `None` for them if the room has too many for presence or does not exist.
    pub async fn members(&self, room: &RoomId) -> Result<MembersAnswer, AuthorityError> {
        self.send_request(MEMBERS_PATH, &MembersRequest { room: room.clone() }).await
    }

    /// Returns those of `others` who share a room with `user`, with the times when they were last seen.
    pub async fn acquainted(
        &self,
        user: &UserId,
        others: &[UserId],
    ) -> Result<Vec<LastSeen>, AuthorityError> {
        let request = AcquaintedRequest { user: user.clone(), others: others.to_vec() };
        Ok(self.send_request::<AcquaintedAnswer>(ACQUAINTED_PATH, &request).await?.users)
    }

    /// Returns the most recently active small rooms of a user.
    pub async fn small_rooms(&self, user: &UserId) -> Result<Vec<RoomId>, AuthorityError> {
        let request = SmallRoomsRequest { user: user.clone() };
        Ok(self.send_request::<SmallRoomsAnswer>(SMALL_ROOMS_PATH, &request).await?.rooms)
    }
}
