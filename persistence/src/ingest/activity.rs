//! Tells users of stored events in rooms that they may not have joined: of messages and edits that mention them, and of
//! messages in their direct rooms. Runs beside the writer, which never waits for it. The cost does not depend on the
//! number of members. A message that concerns nobody costs one look-up in memory once the kind of its room is known.
//!
//! A notice may be lost. Clients that do not join all rooms read the head of their list from time to time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::{Cursor, Epoch, RoomId, Seq, UserId},
    internal::UsersOfRoom,
    log::{Session, keys::Partition},
    people::{self, UserNotice},
    protocol::server::ServerFrame,
    visibility::is_visible_to,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Ingest, redacted_cause};
use crate::batch::RoomActivity;
use crate::query::memberships::{direct_members, roles};
use crate::writer::failure;

/// The most bytes of activity that wait. Activity that does not fit is dropped.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// Pause between two rounds. A user gets at most one notice of a room in a round.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Above this number of remembered rooms, all are forgotten, which limits the memory.
const MAX_KNOWN_ROOMS: usize = 20_000;
/// The most notices in one Redis request. More would block the connection that all commands share.
const MAX_NOTICES_PER_REQUEST: usize = 200;

/// The activity for which no notices were sent yet.
#[derive(Debug, Default)]
pub(super) struct ActivityQueue {
    waiting: Mutex<WaitingActivity>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct WaitingActivity {
    activity: Vec<RoomActivity>,
    bytes: usize,
}

impl ActivityQueue {
    /// Adds activity whose events are stored. Drops what does not fit.
    pub fn add(&self, activity: Vec<RoomActivity>) {
        if activity.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        for item in activity {
            let bytes = item.bytes();
            if waiting.bytes + bytes > MAX_QUEUED_BYTES {
                tracing::debug!("the queue of activity is full; users may miss notices");
                break;
            }
            waiting.bytes += bytes;
            waiting.activity.push(item);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<RoomActivity> {
        std::mem::take(&mut *self.lock()).activity
    }

    fn lock(&self) -> MutexGuard<'_, WaitingActivity> {
        // Ignores poisoning, because no code that holds the lock can panic in the middle of a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the notices of stored activity, until `stop` is cancelled.
pub(super) async fn send_notices(ingest: Arc<Ingest>, stop: CancellationToken) {
    let mut direct_rooms = DirectRooms::default();
    while stop.run_until_cancelled(send_round(&ingest, &mut direct_rooms)).await.is_some() {}
}

/// Waits for activity, sends its notices, and pauses.
async fn send_round(ingest: &Ingest, direct_rooms: &mut DirectRooms) {
    ingest.activity.wake.notified().await;
    let activity = ingest.activity.take();
    match find_notices(&ingest.db, direct_rooms, &activity).await {
        Ok(notices) => publish(ingest, &notices.encode()).await,
        Err(error) => {
            tracing::info!(cause = failure::redacted_cause(&error), "notices of activity are not sent");
        }
    }
    tokio::time::sleep(ROUND_PAUSE).await;
}

/// The notices for the users whom the activity concerns. Reads the present roles of mentioned users, because a user may
/// have been removed, or may have lost the role that could see the message.
async fn find_notices(
    db: &impl ConnectionTrait,
    direct_rooms: &mut DirectRooms,
    activity: &[RoomActivity],
) -> Result<Notices, DbErr> {
    direct_rooms.load(db, activity).await?;
    let mentioning: Vec<&RoomActivity> = activity.iter().filter(|item| !item.mentions.is_empty()).collect();
    let asked: Vec<UsersOfRoom> = mentioning
        .iter()
        .map(|item| UsersOfRoom { room: item.room.clone(), users: item.mentions.clone() })
        .collect();
    let roles = if asked.is_empty() { Vec::new() } else { roles(db, &asked).await? };
    let mut notices = Notices::default();
    for (item, roles) in mentioning.into_iter().zip(&roles) {
        for (user, role) in item.mentions.iter().zip(roles) {
            let sees = |role: &str| is_visible_to(&item.visibility, &item.sender, user.as_str(), role);
            if role.as_deref().is_some_and(sees) {
                notices.add(user, item, true);
            }
        }
    }
    for item in activity.iter().filter(|item| item.visibility.is_empty()) {
        for user in direct_rooms.members(&item.room) {
            notices.add(user, item, false);
        }
    }
    Ok(notices)
}

/// The users of each known room if it is direct, otherwise nobody. An entry never becomes outdated: a room never
/// changes its kind, and the users of a direct room are fixed.
#[derive(Debug, Default)]
struct DirectRooms(HashMap<RoomId, Vec<UserId>>);

impl DirectRooms {
    /// Reads the rooms of the activity that are not known yet.
    async fn load(&mut self, db: &impl ConnectionTrait, activity: &[RoomActivity]) -> Result<(), DbErr> {
        if self.0.len() > MAX_KNOWN_ROOMS {
            self.0.clear();
        }
        let rooms = activity.iter().filter(|item| item.visibility.is_empty()).map(|item| &item.room);
        let unknown: BTreeSet<&RoomId> = rooms.filter(|room| !self.0.contains_key(*room)).collect();
        if !unknown.is_empty() {
            let unknown: Vec<&RoomId> = unknown.into_iter().collect();
            self.0.extend(direct_members(db, &unknown).await?);
        }
        Ok(())
    }

    /// The members of a direct room; nobody for other rooms.
    fn members(&self, room: &RoomId) -> &[UserId] {
        self.0.get(room).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What a user is told of one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Notice {
    epoch: Epoch,
    first: Seq,
    last: Seq,
    mention: bool,
}

/// The notices of a round, one for each user and room.
#[derive(Debug, Default)]
struct Notices(BTreeMap<(UserId, RoomId), Notice>);

impl Notices {
    fn add(&mut self, user: &UserId, item: &RoomActivity, mention: bool) {
        let added = Notice { epoch: item.epoch, first: item.first, last: item.last, mention };
        let notice = self.0.entry((user.clone(), item.room.clone())).or_insert(added);
        notice.mention |= mention;
        if added.epoch > notice.epoch {
            *notice = Notice { mention: notice.mention, ..added };
        } else if added.epoch == notice.epoch {
            notice.first = notice.first.min(added.first);
            notice.last = notice.last.max(added.last);
        }
    }

    fn encode(&self) -> Vec<(UserId, UserNotice)> {
        let encode = |((user, room), notice): (&(UserId, RoomId), &Notice)| {
            // A user who joins from this cursor receives the events.
            let from = Cursor::new(notice.epoch, Seq(notice.first.0.saturating_sub(1)));
            let (seq, mention) = (notice.last, notice.mention);
            let frame = ServerFrame::RoomActivity { room, seq, mention, from: &from }.to_json();
            (user.clone(), UserNotice::Activity { room: room.clone(), frame: Bytes::from(frame) })
        };
        self.0.iter().map(encode).collect()
    }
}

fn partition_of(notice: &&(UserId, UserNotice)) -> Partition {
    Partition::of_user(&notice.0)
}

/// Publishes notices. If a shard does not answer, only the notices of its own users are lost.
async fn publish(ingest: &Ingest, notices: &[(UserId, UserNotice)]) {
    let by_session = ingest.log.group_by_current_session(notices.iter().collect(), partition_of);
    let publishing: Vec<_> =
        by_session.iter().map(|(session, notices)| publish_by_deadline(ingest, session, notices)).collect();
    join_all(publishing).await;
}

async fn publish_by_deadline(ingest: &Ingest, session: &Arc<Session>, notices: &[&(UserId, UserNotice)]) {
    let published = ingest.within_shard_deadline(session, publish_in_session(session, notices)).await;
    if let Some(Err(error)) = &published {
        ingest.log.discard_if_unusable(session, error);
        tracing::info!(cause = redacted_cause(error), "notices of activity are not sent");
    }
}

async fn publish_in_session(session: &Session, notices: &[&(UserId, UserNotice)]) -> redis::RedisResult<()> {
    let mut connection = session.connection();
    for notices in notices.chunks(MAX_NOTICES_PER_REQUEST) {
        let notices: Vec<(&UserId, &UserNotice)> =
            notices.iter().map(|notice| (&notice.0, &notice.1)).collect();
        people::publish(&mut connection, notices).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(room: &str, epoch: u64, first: u64, last: u64) -> RoomActivity {
        RoomActivity {
            room: RoomId::parse(room).unwrap(),
            epoch: Epoch(epoch),
            first: Seq(first),
            last: Seq(last),
            mentions: Vec::new(),
            sender: String::new(),
            visibility: String::new(),
        }
    }

    #[test]
    fn user_gets_one_notice_of_a_room_in_a_round() {
        let bob = UserId::parse("bob").unwrap();
        let mut notices = Notices::default();
        notices.add(&bob, &activity("a", 2, 7, 7), true);
        notices.add(&bob, &activity("a", 2, 5, 6), false);
        notices.add(&bob, &activity("a", 1, 9, 9), false);
        notices.add(&bob, &activity("b", 1, 9, 9), false);
        notices.add(&bob, &activity("b", 2, 8, 8), false);
        let frames = notices.encode().into_iter().map(|(user, notice)| {
            assert_eq!(user, bob);
            match notice {
                UserNotice::Activity { frame, .. } => String::from_utf8(frame.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            }
        });
        let expected = [
            r#"{"type":"room:activity","room":"a","seq":7,"mention":true,"from":{"epoch":"2","seq":4}}"#,
            r#"{"type":"room:activity","room":"b","seq":8,"mention":false,"from":{"epoch":"2","seq":7}}"#,
        ];
        assert_eq!(frames.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn full_queue_drops_activity() {
        let queue = ActivityQueue::default();
        let big = RoomActivity { visibility: "x".repeat(MAX_QUEUED_BYTES - 1_000), ..activity("a", 1, 1, 1) };
        for _ in 0..2 {
            queue.add(vec![big.clone(), big.clone()]);
            assert_eq!(queue.take().len(), 1);
        }
        assert!(queue.take().is_empty());
    }
}
