//! Commands as functions of (state, frame) to effects: no socket, no Redis, no clock of their own.
//! One file per frame type; what an effect takes to happen is in `session`.

mod auth;
mod change;
mod join;
mod leave;
mod live;
mod mark;
mod ping;
mod send;

use std::{num::NonZeroU32, rc::Rc};

use serde_json::value::RawValue;
use tidings_shared::{
    auth::{Identity, Reason, Verifier},
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    message::{Draft, change::Change},
    protocol::{CloseCode, Command, JoinTarget, Parsed, Status, server::ServerFrame},
};

use crate::{
    asked::Asked,
    limits::{Limit, rooms_cost},
};

/// What a connection is, as far as commands care.
#[derive(Debug, Default)]
pub enum State {
    /// Nobody yet: only `auth` is taken.
    #[default]
    AwaitingAuth,
    /// The token is good, the account is being fetched; nothing is read meanwhile.
    Authenticating,
    Ready(Rc<Identity>),
}

/// What commands may ask of the world.
pub struct Context<'a> {
    pub verifier: &'a Verifier,
    /// Takes so many off the user's allowance; else when there will be as many, in milliseconds.
    pub allow: &'a dyn Fn(Limit, &UserId, NonZeroU32) -> Result<(), u64>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What a command leads to, in order.
#[derive(Debug)]
pub enum Effect {
    /// A finished frame to this connection.
    Reply(Vec<u8>),
    /// An error to this connection.
    Refuse {
        asked: Asked,
        room: Option<RoomId>,
        refusal: Refusal,
    },
    /// Over a limit, and answered all the same.
    Overstepped,
    /// Look for the key of a token, then [`settle_auth`]; nothing is read meanwhile.
    FindKey {
        asked: Asked,
        token: String,
    },
    /// Fetch the account, then answer `connected`.
    Authenticate {
        asked: Asked,
        identity: Identity,
    },
    /// The token's end has moved.
    Renewed,
    Join {
        asked: Asked,
        target: JoinTarget,
        presence: bool,
    },
    Leave {
        asked: Asked,
        rooms: Vec<RoomId>,
    },
    Append {
        asked: Asked,
        room: RoomId,
        draft: Box<Draft>,
    },
    Change {
        asked: Asked,
        room: RoomId,
        change: Box<Change>,
    },
    Mark {
        asked: Asked,
        room: RoomId,
        seq: Seq,
        delivered: bool,
    },
    /// Something that is neither stored nor replayed.
    Live {
        asked: Asked,
        live: Live,
    },
    Close(CloseCode, &'static str),
}

/// See [`Effect::Live`].
#[derive(Debug)]
pub enum Live {
    Typing { room: RoomId, started: bool },
    Signal { room: RoomId, to: Option<UserId>, data: Box<RawValue> },
    PresenceSet(Status),
    PresenceGet(Vec<UserId>),
}

impl Effect {
    fn reply(frame: &ServerFrame<'_>) -> Vec<Self> {
        vec![Self::Reply(frame.to_json())]
    }

    fn refuse(asked: Asked, room: Option<RoomId>, refusal: impl Into<Refusal>) -> Self {
        Self::Refuse { asked, room, refusal: refusal.into() }
    }
}

/// Applies one frame, to be answered as `asked` tells.
pub fn apply(state: &mut State, context: &Context<'_>, parsed: Parsed, asked: Asked) -> Vec<Effect> {
    let Parsed { room, frame, .. } = parsed;
    let command = match frame {
        Ok(command) => command,
        Err(refusal) if !matches!(state, State::Ready(_)) => {
            return auth::unreadable(state, asked, room, refusal);
        }
        Err(refusal) => {
            let refusal = within(context, state, Limit::Commands, NonZeroU32::MIN).err().unwrap_or(refusal);
            return vec![Effect::refuse(asked, room, refusal)];
        }
    };
    if let (State::Ready(_), Some(limit)) = (&*state, limit_of(&command))
        && let Err(refusal) = within(context, state, limit, cost_of(&command))
    {
        return vec![Effect::refuse(asked, room, refusal)];
    }
    match (state, command) {
        (state, Command::Auth { token }) => auth::apply(state, context, asked, token),
        (State::Ready(identity), command) => match command {
            Command::Join { target, presence } => join::apply(asked, target, presence),
            Command::Leave { rooms } => leave::apply(asked, rooms),
            Command::Send { room, draft } => send::apply(asked, room, draft),
            Command::Change { room, change } => change::apply(asked, room, change),
            Command::Read { room, seq } => mark::apply(asked, room, seq, false),
            Command::Delivered { room, seq } => mark::apply(asked, room, seq, true),
            Command::Typing { room, started } => live::apply(asked, Live::Typing { room, started }),
            Command::Signal { room, to, data } => live::apply(asked, Live::Signal { room, to, data }),
            Command::PresenceSet { status } => live::apply(asked, Live::PresenceSet(status)),
            Command::PresenceGet { users } => live::apply(asked, Live::PresenceGet(users)),
            Command::Ping => ping::apply(identity, context, &asked),
            Command::Auth { .. } => Vec::new(),
        },
        (State::AwaitingAuth | State::Authenticating, _) => {
            vec![Effect::refuse(asked, room, Reason::Missing)]
        }
    }
}

/// The bucket that a command is taken from before anything else; `None`: it is never refused for coming too often.
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

/// How many of its kind a command counts as. The rooms of `"mine"` are not known yet: they count when they are.
fn cost_of(command: &Command) -> NonZeroU32 {
    let rooms = match command {
        Command::Join { target: JoinTarget::Many { rooms, .. }, .. } => rooms.len(),
        _ => 0,
    };
    NonZeroU32::MIN.saturating_add(rooms_cost(rooms))
}

/// Takes a command off the user's allowance. Nobody yet has none: such a connection ends soon by itself.
fn within(context: &Context<'_>, state: &State, limit: Limit, cost: NonZeroU32) -> Result<(), Refusal> {
    match state {
        State::Ready(identity) => (context.allow)(limit, &identity.user, cost)
            .map_err(|retry_after_ms| limit.refusal(retry_after_ms)),
        State::AwaitingAuth | State::Authenticating => Ok(()),
    }
}

/// Goes on after [`Effect::FindKey`].
pub fn settle_auth(state: &mut State, asked: Asked, verdict: Result<Identity, Refusal>) -> Vec<Effect> {
    auth::settle(state, asked, verdict)
}

#[cfg(test)]
mod tests;
