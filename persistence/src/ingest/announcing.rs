//! Announces committed membership changes: invalidates the cache, then notifies the users on their channels. Runs
//! before the watermark moves: after a crash between the two steps the records are read and announced again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tidings_shared::{
    ids::{Cursor, Seq, UserId},
    log::{Session, keys::Partition},
    membership,
    people::{self, UserNotice},
    protocol::server::ServerFrame,
};

use super::{Ingest, redacted_cause};
use crate::batch::MembershipChangeKind;
use crate::writer::outcome::StoredMembership;

/// Announces the changes, those of a user in order. Returns the partitions with a change that is not announced, because
/// the shard of its user has no session or does not answer.
pub(super) async fn announce_memberships(
    ingest: &Ingest,
    memberships: &[StoredMembership],
) -> BTreeSet<Partition> {
    let of_user = |membership: &&StoredMembership| Partition::of_user(&membership.change.user);
    let by_session = ingest.log.group_by_current_session(memberships.iter().collect(), of_user);
    let announcing: Vec<_> = by_session
        .iter()
        .map(|(session, memberships)| announce_by_deadline(ingest, session, memberships))
        .collect();
    let mut announced = BTreeSet::new();
    for ((_, memberships), is_announced) in by_session.iter().zip(join_all(announcing).await) {
        if is_announced {
            announced.extend(memberships.iter().map(of_user));
        }
    }
    let is_missing = |membership: &&StoredMembership| !announced.contains(&of_user(membership));
    memberships.iter().filter(is_missing).map(|membership| membership.change.partition).collect()
}

/// Announces the changes of users of one session. Returns whether they are announced.
async fn announce_by_deadline(
    ingest: &Ingest,
    session: &Arc<Session>,
    memberships: &[&StoredMembership],
) -> bool {
    let announced = ingest.within_shard_deadline(session, announce_in_session(session, memberships)).await;
    if let Some(Err(error)) = &announced {
        ingest.log.discard_if_unusable(session, error);
        tracing::info!(cause = redacted_cause(error), "membership changes cannot be announced yet");
    }
    matches!(announced, Some(Ok(())))
}

/// [`announce_by_deadline`] without a deadline.
async fn announce_in_session(session: &Session, memberships: &[&StoredMembership]) -> redis::RedisResult<()> {
    let users: BTreeSet<&UserId> = memberships.iter().map(|membership| &membership.change.user).collect();
    let notices: Vec<(&UserId, UserNotice)> = memberships
        .iter()
        .filter_map(|membership| Some((&membership.change.user, membership_notice(membership)?)))
        .collect();
    let mut connection = session.connection();
    // The cache is invalidated first, because a notified user must not read the old memberships.
    membership::invalidate(&mut connection, users).await?;
    people::publish(&mut connection, notices.iter().map(|(user, notice)| (*user, notice))).await
}

/// The notice for the affected user. None for a change of role, because the event in the room's log is enough.
fn membership_notice(membership: &StoredMembership) -> Option<UserNotice> {
    let change = &membership.change;
    let (room, seq) = (&change.room, change.seq);
    let frame = match (&change.kind, &membership.room) {
        (MembershipChangeKind::Added { role }, Some((kind, name))) => {
            // A user who joins from this cursor receives the event that added them, and everything after it.
            let from = Cursor::new(change.epoch, Seq(seq.0.saturating_sub(1)));
            ServerFrame::RoomAdded { room, kind, name: name.as_deref(), role, from: &from }.to_json()
        }
        (MembershipChangeKind::Removed, _) => ServerFrame::RoomRemoved { room, seq }.to_json(),
        _ => return None,
    };
    Some(UserNotice::Membership { room: room.clone(), seq, frame: Bytes::from(frame) })
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{Epoch, RoomId};

    use super::*;
    use crate::batch::MembershipChange;

    fn stored_membership(kind: MembershipChangeKind) -> StoredMembership {
        let room = RoomId::parse("r").unwrap();
        let change = MembershipChange {
            partition: Partition::of(&room),
            room,
            user: UserId::parse("bob").unwrap(),
            epoch: Epoch(3),
            seq: Seq(7),
            kind,
        };
        StoredMembership { change, room: Some(("private".to_owned(), None)) }
    }

    fn notice_text(kind: MembershipChangeKind) -> Option<String> {
        match membership_notice(&stored_membership(kind))? {
            UserNotice::Membership { room, seq, frame } => {
                assert_eq!((room.as_str(), seq), ("r", Seq(7)));
                Some(String::from_utf8(frame.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn notices_name_the_join_cursor_and_the_removal_seq() {
        assert_eq!(
            notice_text(MembershipChangeKind::Added { role: "vip".into() }).unwrap(),
            r#"{"type":"room:added","room":"r","kind":"private","name":null,"role":"vip","from":{"epoch":"3","seq":6}}"#
        );
        assert_eq!(
            notice_text(MembershipChangeKind::Removed).unwrap(),
            r#"{"type":"room:removed","room":"r","seq":7}"#
        );
        assert_eq!(notice_text(MembershipChangeKind::Changed { role: "guest".into() }), None);
    }
}
