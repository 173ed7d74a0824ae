//! The user's memberships in the rooms of one join. The first job that needs a membership reads them for all rooms.

use std::{cell::Cell, collections::HashMap};

use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
};
use tokio::sync::OnceCell;

use crate::bus::{Bus, MembershipSnapshot};

/// The user's memberships in the rooms of one join. The first `get` makes one read for all rooms whose lanes
/// were idle, and later calls use its result.
pub(crate) struct JoinMemberships {
    /// The rooms that are read together. The first call of [`JoinMemberships::get`] takes this list.
    rooms: Cell<Vec<RoomId>>,
    read: OnceCell<Result<HashMap<RoomId, MembershipSnapshot>, Refusal>>,
}

impl JoinMemberships {
    /// `rooms` are the rooms of the join whose lanes are idle, and are read together. In any other room the membership
    /// is read separately, after the earlier commands of the room's lane.
    pub fn new(rooms: Vec<RoomId>) -> Self {
        Self { rooms: Cell::new(rooms), read: OnceCell::new() }
    }

    /// The user's membership in a room of the join, read after the join began.
    pub async fn get(&self, bus: &Bus, user: &UserId, room: &RoomId) -> Result<MembershipSnapshot, Refusal> {
        // A failed read is not repeated, because the rooms of a join would then fail one after the other.
        let read = self.read.get_or_init(async || {
            let rooms = self.rooms.take();
            if rooms.is_empty() {
                return Ok(HashMap::new());
            }
            let snapshots = bus.membership_snapshots(user, &rooms).await?;
            Ok(rooms.into_iter().zip(snapshots).collect())
        });
        match read.await {
            Ok(snapshots) => match snapshots.get(room) {
                Some(snapshot) => Ok(snapshot.clone()),
                None => Ok(bus.membership_snapshot(user, room).await?),
            },
            Err(refusal) => Err(refusal.clone()),
        }
    }
}
