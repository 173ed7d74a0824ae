//! How whoever joins stands in the rooms of one join: asked once for all of them, by the job that comes first.

use std::{cell::Cell, collections::HashMap};

use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
};
use tokio::sync::OnceCell;

use crate::bus::{Bus, Standing};

/// See the module.
pub(super) struct Standings {
    /// Taken by who asks.
    rooms: Cell<Vec<RoomId>>,
    read: OnceCell<Result<HashMap<RoomId, Standing>, Refusal>>,
}

impl Standings {
    /// Of rooms in which nothing of this connection is under way. In another one the answer must come behind what is,
    /// so it is asked for by itself.
    pub fn of(rooms: Vec<RoomId>) -> Self {
        Self { rooms: Cell::new(rooms), read: OnceCell::new() }
    }

    /// How the user stands in a room of the join, as of some time after it began.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn in_room(&self, bus: &Bus, user: &UserId, room: &RoomId) -> Result<Standing, Refusal> {
        // What failed is not asked again: the rooms of a join would fail one after the other.
        let read = self.read.get_or_init(async || {
            let rooms = self.rooms.take();
            if rooms.is_empty() {
                return Ok(HashMap::new());
            }
            let standings = bus.standings(user, &rooms).await?;
            Ok(rooms.into_iter().zip(standings).collect())
        });
        match read.await {
            Ok(standings) => match standings.get(room) {
                Some(standing) => Ok(standing.clone()),
                None => Ok(bus.standing(user, room).await?),
            },
            Err(refusal) => Err(refusal.clone()),
        }
    }
}
