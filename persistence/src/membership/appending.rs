//! Turns a decided membership change into a log entry, and waits until events are stored.

use sea_orm::ConnectionTrait;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Accepted, AppendError, Entry, KnownMemberships, Log, stored::Stored},
    message::events::MemberBody,
    role,
};
use tokio::time::Instant;

use super::deciding::RoleChange;
use crate::batch::{MEMBER_ADDED, MEMBER_REMOVED};
use crate::query::wait_until_stored;
use crate::request_error::RequestError;

/// The name and the picture of a user.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberProfile<'a> {
    pub name: Option<&'a str>,
    pub picture: Option<&'a str>,
}

/// The log entry of a change that was decided from the state at `head`. An addition contains the profile of the user.
pub fn membership_entry<'a>(
    room: &'a RoomId,
    by: &'a UserId,
    user: &'a UserId,
    change: &'a RoleChange,
    head: Seq,
    profile: MemberProfile<'_>,
) -> Entry<'a> {
    let removed = change.role == role::REMOVED;
    let MemberProfile { name, picture } =
        if change.kind == MEMBER_ADDED { profile } else { MemberProfile::default() };
    let body = MemberBody { user, name, picture, role: (!removed).then_some(change.role.as_str()), by };
    let body = serde_json::to_string(&body).expect("strings always serialise");
    Entry {
        sender: Some(by),
        membership: Some((user, &change.role)),
        members_upto: Some(if change.depends_on_owners {
            KnownMemberships::Room(head)
        } else {
            KnownMemberships::User(head)
        }),
        members_delta: match change.kind {
            MEMBER_ADDED => 1,
            MEMBER_REMOVED => -1,
            _ => 0,
        },
        min_role: change.min_role,
        // A removal must succeed even if the backlog is full.
        exempt_from_backlog: removed,
        ..Entry::new(room, change.kind, body)
    }
}

/// Waits until an event is stored. Refuses with `unavailable` if the result is not known in time, and with
/// `bad_request` and the reason `rejected` if the event could not be written.
pub async fn wait_stored(log: &Log, room: &RoomId, accepted: &Accepted) -> Result<(), Refusal> {
    match log.wait_stored(room, accepted).await {
        Stored::AsAccepted => Ok(()),
        Stored::Rejected => Err(AppendError::Rejected.into()),
        // Cannot occur, because membership changes have no client id that could be a duplicate.
        Stored::First { .. } => {
            Err(Refusal::new(ErrorCode::Internal, "a membership change was stored as a message"))
        }
        Stored::Unavailable => Err(Refusal::unavailable(
            "accepted, but not known to be stored; read the current state, then retry",
        )),
    }
}

/// For a request that appends nothing: checks whether the state that was read at `head` includes everything that the
/// log has accepted. If not, waits until everything is stored and returns false; the caller then reads the state once
/// more, without another check. The log itself checks appends. Refuses with `unavailable` if Redis is unavailable, or
/// if the events are not stored before the deadline.
pub async fn check_against_log(
    db: &impl ConnectionTrait,
    log: &Log,
    room: &RoomId,
    head: Seq,
    deadline: Instant,
) -> Result<bool, RequestError> {
    let accepted = log.read(room, None, Epoch(0), None, &[]).await?.head.seq;
    if accepted <= head {
        return Ok(true);
    }
    if wait_until_stored(db, room, accepted, deadline).await? {
        return Ok(false);
    }
    Err(Refusal::unavailable("recent changes of the room are not stored yet; retry").into())
}

#[cfg(test)]
mod tests {
    use tidings_shared::role::MinRole;

    use super::*;
    use crate::batch::MEMBER_CHANGED;

    fn change(kind: &'static str, role: &str, depends_on_owners: bool) -> RoleChange {
        RoleChange { kind, role: role.to_owned(), min_role: MinRole::Admin, depends_on_owners }
    }

    #[test]
    fn membership_entries_match_the_wire_format() {
        let room = RoomId::parse("r").unwrap();
        let [alice, bob] = ["alice", "bob"].map(|user| UserId::parse(user).unwrap());
        let added = change(MEMBER_ADDED, "vip", false);
        let profile = MemberProfile { name: Some("Bob"), picture: Some("https://b") };
        let unnamed = membership_entry(&room, &alice, &bob, &added, Seq(7), MemberProfile::default());
        assert_eq!(unnamed.body, r#"{"user":"bob","role":"vip","by":"alice"}"#);
        let added = membership_entry(&room, &alice, &bob, &added, Seq(7), profile);
        assert_eq!(
            added.body,
            r#"{"user":"bob","name":"Bob","picture":"https://b","role":"vip","by":"alice"}"#
        );
        assert_eq!((added.members_delta, added.members_upto), (1, Some(KnownMemberships::User(Seq(7)))));
        assert!(!added.exempt_from_backlog && !added.allowed_in_archive);
        let changed = change(MEMBER_CHANGED, "member", true);
        let changed = membership_entry(&room, &alice, &bob, &changed, Seq(7), profile);
        assert_eq!((changed.members_delta, changed.members_upto), (0, Some(KnownMemberships::Room(Seq(7)))));
        let removed = change(MEMBER_REMOVED, "removed", false);
        let removed = membership_entry(&room, &bob, &bob, &removed, Seq(7), profile);
        assert_eq!(removed.body, r#"{"user":"bob","by":"bob"}"#);
        assert_eq!(removed.membership.map(|(_, role)| role), Some("removed"));
        assert!(removed.exempt_from_backlog && removed.members_delta == -1);
    }
}
