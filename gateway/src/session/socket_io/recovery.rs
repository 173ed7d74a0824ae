//! Connection state recovery (docs/decisions/0059-socket-io-recovery.md): decides before the answer to a CONNECT packet
//! whether a client that was away continues at its positions.

use std::{collections::HashMap, num::NonZeroU32};

use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::{
    error::Refusal,
    ids::{ClientId, Cursor, RoomId, UserId},
    protocol::{Command, JoinTarget, Parsed},
};

use crate::{
    commands::ConnectionHandle,
    limits::{Limit, rooms_cost},
    socket_io::{NamespaceSocket, RoomPositions},
};

/// Length of the random word that ties offsets to their `pid`.
const TAG_CHARS: usize = 8;

/// What a client says about its lost connection, in the JSON of its CONNECT packet.
#[derive(Deserialize)]
pub(super) struct LostConnection {
    pid: String,
    offset: String,
    presence: Option<bool>,
}

impl LostConnection {
    /// Reads the JSON object; `None` if the client was not connected before.
    pub fn parse(data: Option<&RawValue>) -> Option<Self> {
        serde_json::from_str(data?.get()).ok()
    }
}

/// The rooms that a CONNECT packet names, with the cursors that it gives.
type RequestedRooms = (Vec<RoomId>, HashMap<RoomId, Cursor>);

/// The rooms with the cursors after which a recovered client continues, and whether it receives presence changes.
type RecoveredJoin = (JoinTarget, bool);

/// Decides with which positions a client begins. For a recovered connection, returns the join that continues there, in
/// place of the join that the CONNECT packet asks for.
pub(super) async fn begin_tracking(
    chat: &ConnectionHandle,
    socket: &NamespaceSocket,
    user: &UserId,
    lost: Option<LostConnection>,
    join: Option<&Parsed>,
) -> Option<RecoveredJoin> {
    if let Some(lost) = lost
        && let Some((positions, recovered)) = recover(chat, user, lost, join).await
    {
        socket.track_positions(positions, false);
        return Some(recovered);
    }
    let random = ClientId::generate();
    // The last characters of a UUIDv7 are random.
    let tag = &random.as_str()[random.as_str().len() - TAG_CHARS..];
    socket.track_positions(RoomPositions::new(tag, user.as_str()), join.is_some());
    None
}

async fn requested_rooms(
    chat: &ConnectionHandle,
    user: &UserId,
    join: Option<&Parsed>,
) -> Result<RequestedRooms, Refusal> {
    let Some(Ok(Command::Join { target, .. })) = join.map(|join| &join.frame) else {
        return Ok(RequestedRooms::default());
    };
    Ok(match target.clone() {
        JoinTarget::One { room, after } => {
            let after = after.map(|after| (room.clone(), after)).into_iter().collect();
            (vec![room], after)
        }
        JoinTarget::Many { rooms, after } => (rooms, after),
        JoinTarget::Mine { after } => (chat.worker.node.bus.recent_rooms(user).await?.0, after),
    })
}

/// Checks that the replays of all rooms of a lost connection can begin at its positions. Returns the positions, and the
/// join of these rooms and of the requested ones. Takes the rate limit tokens of this join, because the join must not be
/// refused after the client was told that it has recovered.
async fn recover(
    chat: &ConnectionHandle,
    user: &UserId,
    lost: LostConnection,
    join: Option<&Parsed>,
) -> Option<(RoomPositions, RecoveredJoin)> {
    let positions = RoomPositions::resume(&lost.pid, &lost.offset, user.as_str())?;
    let (requested, mut after) = requested_rooms(chat, user, join).await.ok()?;
    let cursors = positions.cursors();
    let mut rooms: Vec<RoomId> = cursors.iter().map(|(room, _)| room.clone()).collect();
    let recovered = rooms.len();
    // A room that the client has left stays left.
    rooms.extend(requested.into_iter().filter(|room| !positions.contains(room)));
    let cost = NonZeroU32::MIN.saturating_add(rooms_cost(rooms.len()));
    let worker = &chat.worker;
    worker.node.take_tokens(Limit::Joins, user, cost).ok()?;
    if recovered > 0 {
        // A `pid` may be forged, so the answer must not depend on rooms of which the user is not a member.
        let memberships = worker.node.bus.membership_snapshots(user, &rooms[..recovered]).await.ok()?;
        let checks = cursors.iter().zip(&memberships).map(|((room, after), snapshot)| async move {
            worker.can_replay(room, after, user, snapshot.membership.is_some()).await.then_some(()).ok_or(())
        });
        // The checks run at the same time.
        try_join_all(checks).await.ok()?;
    }
    after.extend(cursors);
    Some((positions, (JoinTarget::Many { rooms, after }, lost.presence.unwrap_or(true))))
}
