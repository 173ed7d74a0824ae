//! Decides whether a command may run. A connection without a user may only run `auth`, and each command takes tokens of
//! its user's rate limits. A pure function of the connection's state and the frame.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use tidings_shared::{
    auth::Reason,
    error::Refusal,
    ids::UserId,
    protocol::{Command, JoinTarget, RoomCommand},
    rate::content_cost,
};

use crate::{
    client::AuthState,
    limits::{Limit, rooms_cost},
};

/// Takes tokens from a user's bucket. Fails with the milliseconds after which there are enough.
type TakeTokens<'a> = &'a dyn Fn(Limit, &UserId, NonZeroU32) -> Result<(), u64>;

/// Why a frame is refused.
#[derive(Debug)]
pub(super) enum Refused {
    Command(Refusal),
    /// The frame is an `auth` whose token field is missing or invalid. It is answered like an `auth` with a bad token.
    Auth(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Command(refusal)
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::Command(reason.into())
    }
}

/// Returns the command of a frame if it may run. A connection without a user has no buckets, because it is soon closed
/// if it does not authenticate.
pub(super) fn admit(
    state: &AuthState,
    frame: Result<Command, Refusal>,
    take_tokens: TakeTokens<'_>,
) -> Result<Command, Refused> {
    let AuthState::Ready(identity) = state else {
        return match frame.map_err(refused_before_auth)? {
            command @ Command::Auth { .. } => Ok(command),
            _ => Err(Reason::Missing.into()),
        };
    };
    let take = |limit: Limit, cost| {
        take_tokens(limit, &identity.user, cost).map_err(|retry_after_ms| limit.refusal(retry_after_ms))
    };
    let command = match frame {
        Ok(command) => command,
        Err(refusal) => return Err(take(Limit::Commands, NonZeroU32::MIN).err().unwrap_or(refusal).into()),
    };
    if let Some(limit) = limit_of(&command) {
        take(limit, cost_of(&command))?;
    }
    if let Some(cost) = content_cost(content_bytes(&command)) {
        take(Limit::Bytes, cost)?;
    }
    Ok(command)
}

/// The refusal of an invalid frame of a connection without a user. Most errors of such a frame are reported as a
/// missing token.
fn refused_before_auth(refusal: Refusal) -> Refused {
    match refusal.field.as_deref() {
        // Only `auth` has this field, so the frame is an `auth`.
        Some("token") => Refused::Auth(Reason::Missing.into()),
        // A frame that is no JSON object, or that has an invalid `ref`, is answered with its own error.
        None | Some("ref") => refusal.into(),
        Some(_) => Reason::Missing.into(),
    }
}

/// The rate limit that is checked before a command runs; `None` if the command is never refused for its rate.
fn limit_of(command: &Command) -> Option<Limit> {
    Some(match command {
        Command::Auth { .. } => Limit::Commands,
        Command::Join { .. } | Command::Leave { .. } => Limit::Joins,
        Command::PresenceSet { .. } | Command::PresenceGet { .. } => Limit::Presence,
        Command::Ping => return None,
        Command::InRoom { command, .. } => match command {
            RoomCommand::Send(_) | RoomCommand::Change(_) => Limit::Messages,
            RoomCommand::Mark { .. } => Limit::Marks,
            RoomCommand::Typing { .. } => Limit::Typing,
            RoomCommand::Signal { .. } => Limit::Signals,
        },
    })
}

/// The number of rate limit tokens that a command takes. A join of `"mine"` takes tokens for its rooms later, when
/// their number is known.
fn cost_of(command: &Command) -> NonZeroU32 {
    let rooms = match command {
        Command::Join { target: JoinTarget::Many { rooms, .. }, .. } => rooms.len(),
        _ => 0,
    };
    NonZeroU32::MIN.saturating_add(rooms_cost(rooms))
}

/// The size of the contents that a command sends to a room, in bytes.
fn content_bytes(command: &Command) -> usize {
    match command.in_room() {
        Some(RoomCommand::Send(draft)) => draft.bytes(),
        Some(RoomCommand::Change(change)) => change.bytes(),
        Some(RoomCommand::Signal { data, .. }) => data.get().len(),
        _ => 0,
    }
}
