//! Writes the audit log: who did what to whom, for actions that need the scope `tidings.admin`, and for actions of a
//! member on somebody else in a room. A row is committed together with its action. docs/AUDIT.md lists the actions.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use serde::Deserialize;
use tidings_shared::events::{
    MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED, MESSAGE_DELETED, MESSAGE_EDITED, ROOM_UPDATED,
};
use tidings_shared::ids::{RoomId, Seq, UserId};

use crate::batch::{BatchPlan, EventRow, MembershipChange, MembershipChangeKind};
use crate::sql::{bigint, column, statement, timestamp_from_ms, write_rows};

/// A change of an account.
pub const USER_CHANGE: &str = "user.change";
/// A user was blocked.
pub const USER_BLOCK: &str = "user.block";
/// A user was unblocked.
pub const USER_UNBLOCK: &str = "user.unblock";
/// An erasure has started.
pub const USER_ERASE: &str = "user.erase";
/// A room was created with an id that an admin chose.
pub const ROOM_CREATE: &str = "room.create";
/// A held file was released.
pub const FILE_RELEASE: &str = "file.release";
/// A file was rejected.
pub const FILE_REJECT: &str = "file.reject";
/// An endpoint was registered.
pub const WEBHOOK_CREATE: &str = "webhook.create";
/// An endpoint was changed.
pub const WEBHOOK_CHANGE: &str = "webhook.change";
/// An endpoint got another secret.
pub const WEBHOOK_ROTATE: &str = "webhook.rotate";
/// An endpoint was deleted.
pub const WEBHOOK_DELETE: &str = "webhook.delete";
/// Dead letters were queued again.
pub const WEBHOOK_REPLAY: &str = "webhook.replay";
/// Dead letters were removed.
pub const WEBHOOK_DROP: &str = "webhook.drop";
/// The job `export` has started.
pub const EXPORT: &str = "export";
const ROOM_CHANGE: &str = "room.change";
const ROOM_ARCHIVE: &str = "room.archive";
const ROOM_UNARCHIVE: &str = "room.unarchive";
const MEMBER_ADD: &str = "member.add";
const MEMBER_ROLE: &str = "member.role";
const MEMBER_REMOVE: &str = "member.remove";
const MESSAGE_EDIT: &str = "message.edit";
const MESSAGE_DELETE: &str = "message.delete";

/// The most rows that [`delete_old`] deletes.
pub const MAX_DELETED: u64 = 10_000;

/// The entry of an action that is not an event of a room.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewAuditEntry<'a> {
    /// None for an operator who uses a job.
    pub actor: Option<&'a UserId>,
    pub action: &'static str,
    /// The user whom the action concerns.
    pub target: Option<&'a UserId>,
    pub room: Option<&'a RoomId>,
    /// What else the action concerns, such as the id of a file.
    pub detail: Option<&'a str>,
}

/// Records an action. Must run in the transaction of the action, so that neither exists without the other.
pub async fn record(db: &impl ConnectionTrait, entry: &NewAuditEntry<'_>) -> Result<(), DbErr> {
    let sql = "INSERT INTO audit_log (actor, action, target, room_id, detail) VALUES ($1, $2, $3, $4, $5)";
    let values = [
        entry.actor.map(UserId::as_str).into(),
        entry.action.into(),
        entry.target.map(UserId::as_str).into(),
        entry.room.map(RoomId::as_str).into(),
        entry.detail.into(),
    ];
    db.execute_raw(statement(sql, values)).await.map(drop)
}

/// An event of a room that may be an action on somebody else. `target` and `detail` are empty if there is none.
struct RoomAction<'a> {
    event: &'a EventRow,
    action: &'static str,
    target: &'a str,
    detail: &'a str,
    /// The message that the event changes; its sender is the target.
    message: Option<Seq>,
}

/// The fields of an update of a room.
#[derive(Deserialize)]
struct UpdateFields {
    archived: Option<bool>,
}

impl<'a> RoomAction<'a> {
    /// Reads an event that the batch writes. `changes` are the membership changes of the batch.
    fn of(event: &'a EventRow, changes: &HashMap<(&RoomId, Seq), &'a MembershipChange>) -> Option<Self> {
        let (action, message) = match event.kind.as_str() {
            MEMBER_ADDED => (MEMBER_ADD, None),
            MEMBER_CHANGED => (MEMBER_ROLE, None),
            MEMBER_REMOVED => (MEMBER_REMOVE, None),
            MESSAGE_EDITED => (MESSAGE_EDIT, event.target),
            MESSAGE_DELETED => (MESSAGE_DELETE, event.target),
            ROOM_UPDATED => match serde_json::from_str::<UpdateFields>(&event.body).ok()?.archived {
                Some(true) => (ROOM_ARCHIVE, None),
                Some(false) => (ROOM_UNARCHIVE, None),
                None => (ROOM_CHANGE, None),
            },
            _ => return None,
        };
        let change = changes.get(&(&event.room, event.seq));
        let detail = change.map_or("", |change| match &change.kind {
            MembershipChangeKind::Added { role } | MembershipChangeKind::Changed { role } => role.as_str(),
            MembershipChangeKind::Removed => "",
        });
        let target = change.map_or("", |change| change.user.as_str());
        Some(Self { event, action, target, detail, message })
    }
}

/// Records the events of a batch that are actions on somebody else, and the changes of rooms. Must run after the
/// messages of the batch are inserted, because it reads their senders, and after refused changes have become voids.
pub async fn record_events(transaction: &DatabaseTransaction, plan: &BatchPlan<'_>) -> Result<(), DbErr> {
    let changes: HashMap<(&RoomId, Seq), &MembershipChange> =
        plan.members.all.iter().map(|change| ((&change.room, change.seq), change)).collect();
    let actions: Vec<RoomAction<'_>> =
        plan.events.iter().filter_map(|event| RoomAction::of(event, &changes)).collect();
    let sql = "INSERT INTO audit_log (at, actor, action, target, room_id, seq, detail) \
               SELECT v.at, NULLIF(v.actor, ''), v.action, COALESCE(NULLIF(v.target, ''), m.sender_id), v.room, v.seq, \
                 NULLIF(v.detail, '') \
               FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], \
                 $8::bigint[]) WITH ORDINALITY AS v (at, actor, action, target, room, seq, detail, message, place) \
               LEFT JOIN messages m ON m.room_id = v.room AND m.seq = v.message \
               WHERE COALESCE(NULLIF(v.target, ''), m.sender_id, '') <> v.actor AND (v.message = 0 OR m.seq IS NOT NULL) \
               ORDER BY v.place";
    let values = [
        column(&actions, |action| timestamp_from_ms(action.event.at_ms)),
        column(&actions, |action| action.event.actor.clone()),
        column(&actions, |action| action.action.to_owned()),
        column(&actions, |action| action.target.to_owned()),
        column(&actions, |action| action.event.room.as_str().to_owned()),
        column(&actions, |action| bigint(action.event.seq.0)),
        column(&actions, |action| action.detail.to_owned()),
        column(&actions, |action| action.message.map_or(0, |seq| bigint(seq.0))),
    ];
    write_rows(transaction, actions.len(), sql, values).await
}

/// Deletes up to [`MAX_DELETED`] of the rows that are older than `days`, and returns how many.
pub async fn delete_old(db: &impl ConnectionTrait, days: u16) -> Result<u64, DbErr> {
    let sql = "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log \
               WHERE at < now() - make_interval(days => $1) ORDER BY at LIMIT $2)";
    let values = [i32::from(days).into(), i64::try_from(MAX_DELETED).unwrap_or(i64::MAX).into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected())
}
