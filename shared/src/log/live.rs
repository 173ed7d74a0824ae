//! Publishes live-only frames in rooms, such as typing and signals. A live-only frame is never stored or replayed.

use std::collections::HashMap;

use redis::Value;

use super::{
    append::AppendError,
    arguments::arguments,
    calls::unavailable,
    commands::{Log, MAX_ATTEMPTS},
    keys::{self, Partition},
    record::{Header, Visibility},
    session::Session,
    timing::RoundTrip,
};
use crate::{
    error::Refusal,
    ids::{RoomId, UserId},
    role::MinRole,
};

/// A frame of one member that is sent only to users who are connected now, such as typing or a signal.
#[derive(Debug, Clone)]
pub struct LiveEntry<'a> {
    pub room: &'a RoomId,
    /// Wire type of the frame, such as `typing:start`.
    pub kind: &'a str,
    pub sender: &'a UserId,
    /// The only recipient, or `None` if all users in the room except the sender receive the frame.
    pub to: Option<&'a UserId>,
    /// Lowest role with which the sender may send the frame.
    pub min_role: MinRole,
    /// The complete frame for clients.
    pub json: Vec<u8>,
}

/// Whether a frame was published, or why not.
type PublishOutcome = Result<(), Refusal>;

impl Log {
    /// Publishes frames of one room, and returns the outcome of each. Seeds the room first if this is necessary. The
    /// frames keep their order. A frame is refused if an event in the log has removed its sender or has given the
    /// sender too low a role.
    pub async fn publish_live(&self, entries: &[LiveEntry<'_>]) -> Vec<PublishOutcome> {
        for _ in 0..MAX_ATTEMPTS {
            let outcomes = self.publish_in_seeded_rooms(entries).await;
            let Some(unseeded) = outcomes.iter().position(Option::is_none) else {
                return outcomes.into_iter().flatten().collect();
            };
            let room = entries[unseeded].room;
            let seed_result = match self.session_of(room).await {
                Ok(session) => self.seed(&session, room).await,
                Err(error) => Err(unavailable(error)),
            };
            if let Err(error) = seed_result {
                return vec![outcome_of_error(error); entries.len()];
            }
        }
        vec![Err(room_unavailable()); entries.len()]
    }

    /// Publishes frames of several rooms in one round trip for each session. Returns `None` for a frame whose room must
    /// be seeded first, otherwise an outcome as [`Log::publish_live`] does.
    pub async fn publish_in_seeded_rooms(&self, entries: &[LiveEntry<'_>]) -> Vec<Option<PublishOutcome>> {
        let mut outcomes: Vec<Option<PublishOutcome>> = vec![Some(Err(room_unavailable())); entries.len()];
        let mut rooms: HashMap<&RoomId, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            rooms.entry(entry.room).or_default().push(index);
        }
        let by_session =
            self.group_by_open_session(rooms.into_iter().collect(), |(room, _)| Partition::of(room)).await;
        let by_session = match by_session {
            Ok(by_session) => by_session,
            Err(error) => {
                tracing::debug!(%error, "live-only frames were not published");
                return outcomes;
            }
        };
        for (session, rooms) in by_session {
            let commands = rooms
                .iter()
                .map(|(room, indices)| command(&session, room, indices.iter().map(|index| &entries[*index])));
            let sending = self.calls.call_each(&session, commands.collect());
            let answers = self.timed(RoundTrip::Live, sending).await;
            for ((_, indices), answer) in rooms.into_iter().zip(answers) {
                let answer = answer
                    .and_then(|answer| redis::from_redis_value::<Vec<Value>>(answer).map_err(unavailable));
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error) => {
                        tracing::debug!(%error, "live-only frames were not published");
                        continue;
                    }
                };
                match parse_word(answer.first()).as_str() {
                    "ok" => {
                        for (index, outcome) in indices.into_iter().zip(&answer[1..]) {
                            outcomes[index] = Some(parse_outcome(&parse_word(Some(outcome))));
                        }
                    }
                    "seed" => indices.iter().for_each(|index| outcomes[*index] = None),
                    other => indices.iter().for_each(|index| outcomes[*index] = Some(parse_outcome(other))),
                }
            }
        }
        outcomes
    }
}

fn command<'a>(
    session: &Session,
    room: &RoomId,
    entries: impl Iterator<Item = &'a LiveEntry<'a>>,
) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(&session.scripts.live.sha);
    let check_keys = session.scripts.check_keys(Partition::of(room));
    arguments!(command, "live.lua", KEYS[check_keys]: room_key = keys::room(room));
    for entry in entries {
        let users = entry.to.map(|user| user.as_str().to_owned()).into_iter().collect();
        let visibility = Visibility { users, roles: Vec::new() }.encode();
        let (room, kind, sender) = (entry.room.as_str(), entry.kind, entry.sender.as_str());
        let header = Header { room, kind, sender, visibility: &visibility, ..Header::default() };
        arguments!(command, "live.lua", ARGV:
            sender = sender,
            min_role = entry.min_role as i32,
            to = entry.to.map_or("", UserId::as_str),
            header_rest = header.encode(),
            json = &entry.json,
        );
    }
    command
}

/// Reads a word of the script's answer; empty if there is none.
fn parse_word(value: Option<&Value>) -> String {
    value.and_then(|value| redis::FromRedisValue::from_redis_value_ref(value).ok()).unwrap_or_default()
}

fn parse_outcome(word: &str) -> PublishOutcome {
    match word {
        "ok" => Ok(()),
        "revoked" => outcome_of_error(AppendError::Revoked),
        "role" => outcome_of_error(AppendError::RoleTooLow),
        "archived" => outcome_of_error(AppendError::Archived),
        "gone" => Err(Refusal::not_found("member")),
        _ => Err(room_unavailable()),
    }
}

/// Converts an error of the log into the outcome of a frame. The refusal does not advise to repeat the client id,
/// because live-only frames have no client id.
fn outcome_of_error(error: AppendError) -> PublishOutcome {
    match error {
        AppendError::Unavailable(cause) => {
            tracing::debug!(cause, "a live-only frame was not published");
            Err(room_unavailable())
        }
        error => Err(error.into()),
    }
}

fn room_unavailable() -> Refusal {
    Refusal::unavailable("the room is unavailable now; try again")
}
