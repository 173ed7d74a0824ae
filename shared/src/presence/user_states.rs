//! Writes, publishes and reads the presence states of users.

use std::time::Duration;

use redis::RedisResult;

use super::{
    NodeLease, PresencePartition, keys, letter_of_status,
    scripts::{self, HOLD, PUBLISH, PUT, STATES, STATES_TEXT},
    status_of_letter,
};
use crate::{
    ids::{RoomId, UserId},
    log::RedisConnection as Connection,
    named_enum::named_enum,
    protocol::{
        Status,
        server::{Presence, rfc3339},
    },
};

/// Maximum number of users of a partition whose last-seen time waits to be stored. The times of further users are lost.
const MAX_UNSTORED_LAST_SEEN: usize = 20_000;

/// The new presence state of a user on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    pub user: UserId,
    /// The highest status of the user's connections on this node, or `None` if the user has no connection here.
    pub status: Option<Status>,
    /// The status of a connection that has closed, which stays valid for the grace period.
    pub grace: Option<Status>,
    /// When the last bytes came from the closed connections of the user on this node, by the node's own clock in ms,
    /// which may wrap around.
    pub last_sign_ms: u32,
}

/// The result of writing a user's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The state that was published last is still correct.
    UpToDate,
    /// The state has changed, and the caller must publish it with [`publish_states`].
    MustPublish,
    /// The node lease has expired, and nothing was written.
    LeaseExpired,
}

/// Writes states of users under a node lease. `now_ms` is the present time by the clock of
/// [`NodeState::last_sign_ms`]. Returns one outcome per user, in their order. After an error the call may be repeated.
pub async fn write_states(
    connection: &mut Connection,
    lease: &NodeLease,
    states: &[NodeState],
    now_ms: u32,
) -> RedisResult<Vec<WriteOutcome>> {
    write_or_remove(connection, lease, states, Some(now_ms)).await
}

/// Removes the states of users under an expired node lease. Returns one outcome per user, in their order.
pub async fn remove_states(
    connection: &mut Connection,
    lease: &NodeLease,
    users: &[UserId],
) -> RedisResult<Vec<WriteOutcome>> {
    let removed_state =
        |user: &UserId| NodeState { user: user.clone(), status: None, grace: None, last_sign_ms: 0 };
    write_or_remove(connection, lease, &users.iter().map(removed_state).collect::<Vec<_>>(), None).await
}

/// Writes states. `node_now_ms` is the clock of the lease's own node, or `None` if another node removes the states.
async fn write_or_remove(
    connection: &mut Connection,
    lease: &NodeLease,
    states: &[NodeState],
    node_now_ms: Option<u32>,
) -> RedisResult<Vec<WriteOutcome>> {
    let layout = connection.layout();
    let mut pipe = redis::pipe();
    for NodeState { user, status, grace, last_sign_ms } in states {
        let of = PresencePartition::of(user);
        let keys = [keys::user(layout, user), of.due(layout), of.leases(layout), of.users_of(layout, lease)];
        scripts::add_call(&mut pipe, &PUT, &keys).arg(user.as_str()).arg(lease.to_string());
        pipe.arg(letter_of_status(*status)).arg(letter_of_status(*grace));
        pipe.arg(node_now_ms.map_or(-1, |now| i64::from(now.wrapping_sub(*last_sign_ms))));
    }
    run_writes(connection, &pipe).await
}

/// Runs calls of `put.lua` or `hold.lua`, and parses their answers.
async fn run_writes(connection: &mut Connection, pipe: &redis::Pipeline) -> RedisResult<Vec<WriteOutcome>> {
    let answers: Vec<String> = scripts::run_calls(connection, pipe).await?;
    let outcome = |answer: String| match answer.as_str() {
        "tell" => WriteOutcome::MustPublish,
        "over" => WriteOutcome::LeaseExpired,
        _ => WriteOutcome::UpToDate,
    };
    Ok(answers.into_iter().map(outcome).collect())
}

named_enum! {
    /// Why a user without a connection has a presence state, with the name of the state in Redis.
    pub enum HoldKind {
        /// The user uses the long poll.
        Poll = "poll",
        /// The user sets a presence state over HTTP (`POST /presence`).
        Http = "http",
    }
}

/// Sets states of users, which expire after `time`. If the status of a user is `None`, the present state of this kind
/// is extended, or becomes online if the user has none. Returns one outcome per user, in their order.
pub async fn hold_states(
    connection: &mut Connection,
    kind: HoldKind,
    time: Duration,
    holds: &[(UserId, Option<Status>)],
) -> RedisResult<Vec<WriteOutcome>> {
    let layout = connection.layout();
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut pipe = redis::pipe();
    for (user, status) in holds {
        let partition = PresencePartition::of(user);
        let keys = [keys::user(layout, user), partition.due(layout), partition.leases(layout)];
        let call = scripts::add_call(&mut pipe, &HOLD, &keys);
        call.arg(user.as_str()).arg(kind.as_str()).arg(letter_of_status(*status)).arg(ms);
    }
    run_writes(connection, &pipe).await
}

/// Publishes the present states of users to the members of the given rooms. A state is not published if it is the same
/// as the published one. Returns, for each user, whether this call has published a state.
pub async fn publish_states(
    connection: &mut Connection,
    users: &[(UserId, Vec<RoomId>)],
) -> RedisResult<Vec<bool>> {
    let layout = connection.layout();
    let mut pipe = redis::pipe();
    for (user, rooms) in users {
        let partition = PresencePartition::of(user);
        let keys = [
            keys::user(layout, user),
            partition.due(layout),
            partition.leases(layout),
            partition.last_seen(layout),
            partition.changes(layout),
        ];
        scripts::add_call(&mut pipe, &PUBLISH, &keys)
            .arg(user.as_str())
            .arg(layout.publish_command())
            .arg(partition.channel(layout))
            .arg(MAX_UNSTORED_LAST_SEEN);
        for room in rooms {
            pipe.arg(room.as_str());
        }
    }
    let answers: Vec<String> = scripts::run_calls(connection, &pipe).await?;
    Ok(answers.into_iter().map(|answer| answer == "published").collect())
}

/// The presence of a user over all connections and nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PresenceState {
    /// The highest status of the user's connections, or `None` if the user is offline.
    pub status: Option<Status>,
    /// When an offline user was last seen, in milliseconds since the Unix epoch, if known.
    pub last_seen_ms: Option<i64>,
}

impl PresenceState {
    /// Sets `last_seen_ms` to the later one of its value and `at_ms`.
    #[must_use]
    pub fn with_last_seen(self, at_ms: Option<i64>) -> Self {
        Self { last_seen_ms: self.last_seen_ms.max(at_ms), ..self }
    }

    /// Converts the state into the form of a frame. Only offline users have a `last_seen`.
    pub fn on_the_wire(self, user: UserId) -> Presence {
        let status = match self.status {
            Some(Status::Online) => "online",
            Some(Status::Away) => "away",
            None => "offline",
        };
        let last_seen = self.last_seen_ms.filter(|_| self.status.is_none()).map(rfc3339);
        Presence { user, status, last_seen }
    }
}

/// Reads the present states of users. The result has the same order.
pub async fn states(connection: &mut Connection, users: &[UserId]) -> RedisResult<Vec<PresenceState>> {
    let layout = connection.layout();
    let mut indices: Vec<usize> = (0..users.len()).collect();
    indices.sort_by_key(|index| PresencePartition::of(&users[*index]));
    let mut pipe = redis::pipe();
    for indices in indices
        .chunk_by(|one, other| PresencePartition::of(&users[*one]) == PresencePartition::of(&users[*other]))
    {
        let partition = PresencePartition::of(&users[indices[0]]);
        let mut keys = vec![partition.leases(layout), partition.last_seen(layout)];
        keys.extend(indices.iter().map(|index| keys::user(layout, &users[*index])));
        scripts::add_call(&mut pipe, &STATES, &keys);
        for index in indices {
            pipe.arg(users[*index].as_str());
        }
    }
    if pipe.is_empty() {
        return Ok(Vec::new());
    }
    let answers: Vec<Vec<String>> = scripts::run_calls(connection, &pipe).await?;
    let mut states = vec![PresenceState::default(); users.len()];
    let answers = answers.iter().flat_map(|answer| answer.chunks_exact(2));
    for (index, answer) in indices.iter().zip(answers) {
        states[*index] = parse_state(&answer[0], &answer[1]);
    }
    Ok(states)
}

/// Reads the present state of a user by a command that needs no right to write, and Redis 7.0.
pub(super) async fn state_read_only(
    connection: &mut Connection,
    user: &UserId,
) -> RedisResult<PresenceState> {
    let (layout, partition) = (connection.layout(), PresencePartition::of(user));
    let keys = [partition.leases(layout), partition.last_seen(layout), keys::user(layout, user)];
    let mut command = redis::cmd("EVAL_RO");
    command.arg(STATES_TEXT).arg(keys.len()).arg(&keys).arg(user.as_str());
    let (status, last_seen_ms): (String, String) = command.query_async(connection).await?;
    Ok(parse_state(&status, &last_seen_ms))
}

fn parse_state(status: &str, last_seen_ms: &str) -> PresenceState {
    PresenceState { status: status_of_letter(status), last_seen_ms: last_seen_ms.parse().ok() }
}
