//! Tells of memberships that are committed: the cache first, then the users themselves on their channels. Before the
//! watermark, so that whoever dies in between leaves the records to be read, and told, again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidings_shared::{
    ids::{Cursor, Seq, UserId},
    log::{Session, keys::Partition},
    membership,
    people::{self, Notice},
    protocol::server::ServerFrame,
};

use super::{Ingest, batch::MembershipKind, without_data};
use crate::writer::members::StoredMembership;

/// Tells of all of them, in their order; the partitions of those that could not be told.
pub(super) async fn tell(
    ingest: &Ingest,
    session: Option<&Arc<Session>>,
    memberships: &[StoredMembership],
) -> BTreeSet<Partition> {
    if memberships.is_empty() {
        return BTreeSet::new();
    }
    let all = || memberships.iter().map(|membership| membership.change.partition).collect();
    let Some(session) = session else { return all() };
    let users: BTreeSet<&UserId> = memberships.iter().map(|membership| &membership.change.user).collect();
    let notices: Vec<(&UserId, Notice)> = memberships
        .iter()
        .filter_map(|membership| Some((&membership.change.user, notice(membership)?)))
        .collect();
    let mut connection = session.connection();
    let told = async {
        // Whoever hears of it finds nothing in the cache that is older.
        membership::changed(&mut connection, users).await?;
        people::tell(&mut connection, notices.iter().map(|(user, notice)| (*user, notice))).await
    };
    match told.await {
        Ok(()) => BTreeSet::new(),
        Err(error) => {
            ingest.log.failed(session, &error);
            tracing::info!(cause = without_data(&error), "memberships cannot be told yet");
            all()
        }
    }
}

/// What the user is to hear; a change of role is told by the room itself.
fn notice(membership: &StoredMembership) -> Option<Notice> {
    let change = &membership.change;
    let (room, seq) = (&change.room, change.seq);
    let frame = match (&change.kind, &membership.room) {
        (MembershipKind::Added { role }, Some((kind, name))) => {
            // Who joins from here hears of being added, and of all that comes after it.
            let from = Cursor::new(change.epoch, Seq(seq.0.saturating_sub(1)));
            ServerFrame::RoomAdded { room, kind, name: name.as_deref(), role, from: &from }.to_json()
        }
        (MembershipKind::Removed, _) => ServerFrame::RoomRemoved { room, seq }.to_json(),
        _ => return None,
    };
    Some(Notice::Membership { room: room.clone(), seq, frame: Bytes::from(frame) })
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{Epoch, RoomId};

    use super::*;
    use crate::ingest::batch::MembershipChange;

    fn stored(kind: MembershipKind) -> StoredMembership {
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

    fn text(kind: MembershipKind) -> Option<String> {
        match notice(&stored(kind))? {
            Notice::Membership { room, seq, frame } => {
                assert_eq!((room.as_str(), seq), ("r", Seq(7)));
                Some(String::from_utf8(frame.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_is_added_hears_from_where_nothing_is_missed_and_who_goes_hears_where() {
        assert_eq!(
            text(MembershipKind::Added { role: "vip".into() }).unwrap(),
            r#"{"type":"room:added","room":"r","kind":"private","name":null,"role":"vip","from":{"epoch":"3","seq":6}}"#
        );
        assert_eq!(text(MembershipKind::Removed).unwrap(), r#"{"type":"room:removed","room":"r","seq":7}"#);
        assert_eq!(text(MembershipKind::Changed { role: "guest".into() }), None);
    }
}
