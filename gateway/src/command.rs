//! The decision about a client's frame: a pure function from (state, frame) to effects, without sockets, Redis or a
//! clock. The module `session` carries out the effects.

mod auth;

use std::{num::NonZeroU32, rc::Rc};

use serde_json::value::RawValue;
use tidings_shared::{
    auth::{Identity, Reason, Verifier},
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    message::{Draft, change::Change},
    protocol::{
        CloseCode, Command, JoinTarget, Parsed, Status,
        server::{ServerFrame, rfc3339},
    },
    rate::content_cost,
};

use crate::{
    limits::{Limit, rooms_cost},
    request_context::RequestContext,
};
pub use auth::finish_auth;

/// The authentication state of a connection.
#[derive(Debug, Default)]
pub enum AuthState {
    /// The connection has no user yet, so only `auth` is accepted.
    #[default]
    AwaitingAuth,
    /// The token is valid and the account is being read. The connection reads no frame in this state.
    Authenticating,
    Ready(Rc<Identity>),
}

/// The inputs of [`apply`] besides the frame and the state.
pub struct Environment<'a> {
    pub verifier: &'a Verifier,
    /// Takes tokens for a command from the user's rate limit bucket. Fails with the milliseconds after which the tokens
    /// are available.
    pub take_tokens: &'a dyn Fn(Limit, &UserId, NonZeroU32) -> Result<(), u64>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// An effect of a command. The session carries out the effects of a command in their order.
#[derive(Debug)]
pub enum Effect {
    /// Sends an encoded frame to this connection.
    Reply(Vec<u8>),
    /// Sends an error to this connection.
    Refuse { request: RequestContext, room: Option<RoomId>, refusal: Refusal },
    /// Counts that a command exceeded its rate limit, although the command is answered.
    LimitExceeded,
    /// Fetches the key that verifies `token`, then calls [`finish_auth`]. The connection reads no frame meanwhile.
    FetchKey { request: RequestContext, token: String },
    /// Reads the account of the user, then answers `connected`.
    Authenticate { request: RequestContext, identity: Identity },
    /// Sets the deadline of the connection to the expiry of its renewed token.
    TokenRenewed,
    /// Joins rooms. If `presence` is true, the connection also receives presence changes of the rooms' members.
    Join { request: RequestContext, target: JoinTarget, presence: bool },
    /// Leaves rooms.
    Leave { request: RequestContext, rooms: Vec<RoomId> },
    /// Sets the user's presence.
    PresenceSet { request: RequestContext, status: Status },
    /// Reads the presence of users.
    PresenceGet { request: RequestContext, users: Vec<UserId> },
    /// Runs a command after all earlier commands of this connection for the same room.
    InRoom { request: RequestContext, room: RoomId, command: RoomCommand },
    /// Closes this connection.
    Close(CloseCode, &'static str),
}

/// A command for one room. Typing and signals are neither stored nor replayed.
#[derive(Debug)]
pub enum RoomCommand {
    Append(AppendCommand),
    Mark { seq: Seq, delivered: bool },
    Typing { started: bool },
    Signal { to: Option<UserId>, data: Box<RawValue> },
}

/// A command that appends an event to the room's log and gets one answer.
#[derive(Debug)]
pub enum AppendCommand {
    Send(Box<Draft>),
    Change(Box<Change>),
}

impl Effect {
    fn refuse(request: RequestContext, room: Option<RoomId>, refusal: impl Into<Refusal>) -> Self {
        Self::Refuse { request, room, refusal: refusal.into() }
    }
}

/// Applies one frame to the state, and returns the effects. `request` is the context of the frame's command.
pub fn apply(
    state: &mut AuthState,
    env: &Environment<'_>,
    parsed: Parsed,
    request: RequestContext,
) -> Vec<Effect> {
    let Parsed { room, frame, .. } = parsed;
    let command = match frame {
        Ok(command) => command,
        Err(refusal) if !matches!(state, AuthState::Ready(_)) => {
            return auth::refuse_unreadable(state, request, room, refusal);
        }
        Err(refusal) => {
            let refusal =
                take_rate_tokens(env, state, Limit::Commands, NonZeroU32::MIN).err().unwrap_or(refusal);
            return vec![Effect::refuse(request, room, refusal)];
        }
    };
    if let (AuthState::Ready(_), Some(limit)) = (&*state, limit_of(&command))
        && let Err(refusal) = take_rate_tokens(env, state, limit, cost_of(&command))
    {
        return vec![Effect::refuse(request, room, refusal)];
    }
    if let (AuthState::Ready(_), Some(cost)) = (&*state, content_cost(content_bytes(&command)))
        && let Err(refusal) = take_rate_tokens(env, state, Limit::Bytes, cost)
    {
        return vec![Effect::refuse(request, room, refusal)];
    }
    let (room, command) = match command {
        Command::Auth { token } => return auth::apply(state, env, request, token),
        _ if !matches!(state, AuthState::Ready(_)) => {
            return vec![Effect::refuse(request, room, Reason::Missing)];
        }
        Command::Send { room, draft } => (room, RoomCommand::Append(AppendCommand::Send(draft))),
        Command::Change { room, change } => (room, RoomCommand::Append(AppendCommand::Change(change))),
        Command::Read { room, seq } => (room, RoomCommand::Mark { seq, delivered: false }),
        Command::Delivered { room, seq } => (room, RoomCommand::Mark { seq, delivered: true }),
        Command::Typing { room, started } => (room, RoomCommand::Typing { started }),
        Command::Signal { room, to, data } => (room, RoomCommand::Signal { to, data }),
        Command::Join { target, presence } => return vec![Effect::Join { request, target, presence }],
        Command::Leave { rooms } => return vec![Effect::Leave { request, rooms }],
        Command::PresenceSet { status } => return vec![Effect::PresenceSet { request, status }],
        Command::PresenceGet { users } => return vec![Effect::PresenceGet { request, users }],
        Command::Ping => return ping(state, env, &request),
    };
    vec![Effect::InRoom { request, room, command }]
}

/// Answers `ping`, also above the rate limit. A ping above the limit also has the effect [`Effect::LimitExceeded`].
fn ping(state: &AuthState, env: &Environment<'_>, request: &RequestContext) -> Vec<Effect> {
    let server_time = rfc3339(env.now_ms);
    let pong = ServerFrame::Pong { reference: request.reference(), server_time: &server_time };
    let mut effects = vec![Effect::Reply(pong.to_json())];
    if take_rate_tokens(env, state, Limit::Commands, NonZeroU32::MIN).is_err() {
        effects.push(Effect::LimitExceeded);
    }
    effects
}

/// The rate limit that is checked before a command is applied; `None` if the command is never refused for its rate.
fn limit_of(command: &Command) -> Option<Limit> {
    Some(match command {
        Command::Send { .. } | Command::Change { .. } => Limit::Messages,
        Command::Typing { .. } => Limit::Typing,
        Command::Signal { .. } => Limit::Signals,
        Command::Read { .. } | Command::Delivered { .. } => Limit::Marks,
        Command::PresenceSet { .. } | Command::PresenceGet { .. } => Limit::Presence,
        Command::Join { .. } | Command::Leave { .. } => Limit::Joins,
        Command::Auth { .. } => Limit::Commands,
        Command::Ping => return None,
    })
}

/// The number of rate limit tokens that a command takes. A join of `"mine"` takes tokens for its rooms later, when the
/// session has read their number.
fn cost_of(command: &Command) -> NonZeroU32 {
    let rooms = match command {
        Command::Join { target: JoinTarget::Many { rooms, .. }, .. } => rooms.len(),
        _ => 0,
    };
    NonZeroU32::MIN.saturating_add(rooms_cost(rooms))
}

/// The size of the contents that a command sends to a room, in bytes.
fn content_bytes(command: &Command) -> usize {
    match command {
        Command::Send { draft, .. } => draft.bytes(),
        Command::Change { change, .. } => change.bytes(),
        Command::Signal { data, .. } => data.get().len(),
        _ => 0,
    }
}

/// Takes `cost` tokens from the user's bucket. Fails with the refusal if the bucket has fewer tokens. A connection
/// without a user has no bucket, because it is soon closed if it does not authenticate.
fn take_rate_tokens(
    env: &Environment<'_>,
    state: &AuthState,
    limit: Limit,
    cost: NonZeroU32,
) -> Result<(), Refusal> {
    match state {
        AuthState::Ready(identity) => (env.take_tokens)(limit, &identity.user, cost)
            .map_err(|retry_after_ms| limit.refusal(retry_after_ms)),
        AuthState::AwaitingAuth | AuthState::Authenticating => Ok(()),
    }
}

#[cfg(test)]
mod tests;
