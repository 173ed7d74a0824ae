//! What gateways ask about people: who is in a small room, who may know of whom, and whom a change is told to.

use serde::{Deserialize, Serialize};

use super::InternalClient;
use crate::{
    ids::{RoomId, Seq, UserId},
    log::AuthorityError,
};

pub const MEMBERS: &str = "/internal/v1/members";
pub const ACQUAINTED: &str = "/internal/v1/acquainted";
pub const SMALL_ROOMS: &str = "/internal/v1/small-rooms";

/// Asks for the members of a small room.
#[derive(Debug, Serialize, Deserialize)]
pub struct MembersRequest {
    pub room: RoomId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MembersAnswer {
    /// The stored head that the list is of.
    pub head: Seq,
    /// `None`: they are more than presence is told to, or there is no such room.
    pub users: Option<Vec<UserId>>,
}

/// Asks which of some users share a room with one.
#[derive(Debug, Serialize, Deserialize)]
pub struct AcquaintedRequest {
    pub user: UserId,
    pub others: Vec<UserId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct AcquaintedAnswer {
    /// Those who do, and the user, if asked for; in no order.
    pub users: Vec<LastSeen>,
}

/// When somebody was seen last, as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    pub user: UserId,
    pub at_ms: Option<i64>,
}

/// Asks for the small ones among a user's rooms: for those who have so many that the cache does not tell.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmallRoomsRequest {
    pub user: UserId,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SmallRoomsAnswer {
    pub rooms: Vec<RoomId>,
}

impl InternalClient {
    /// # Errors
    /// When no replica answers.
    pub async fn members(&self, room: &RoomId) -> Result<MembersAnswer, AuthorityError> {
        self.ask(MEMBERS, &MembersRequest { room: room.clone() }).await
    }

    /// # Errors
    /// When no replica answers.
    pub async fn acquainted(
        &self,
        user: &UserId,
        others: &[UserId],
    ) -> Result<Vec<LastSeen>, AuthorityError> {
        let request = AcquaintedRequest { user: user.clone(), others: others.to_vec() };
        let answer: AcquaintedAnswer = self.ask(ACQUAINTED, &request).await?;
        Ok(answer.users)
    }

    /// # Errors
    /// When no replica answers.
    pub async fn small_rooms(&self, user: &UserId) -> Result<Vec<RoomId>, AuthorityError> {
        let answer: SmallRoomsAnswer =
            self.ask(SMALL_ROOMS, &SmallRoomsRequest { user: user.clone() }).await?;
        Ok(answer.rooms)
    }
}
