//! Records that change who is in a room, and what several of them come to for one user.
//! Pure. Refuses, with the reason, what does not name whose membership it is. A reason never quotes the record.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Record, keys::Partition},
    role,
};

use super::Marks;

/// Wire types of these events.
pub const MEMBER_ADDED: &str = "member:added";
pub const MEMBER_CHANGED: &str = "member:changed";
pub const MEMBER_REMOVED: &str = "member:removed";

/// One change of a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipChange {
    pub partition: Partition,
    pub room: RoomId,
    pub user: UserId,
    pub epoch: Epoch,
    pub seq: Seq,
    pub kind: Kind,
}

/// What becomes of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Added { role: String },
    Changed { role: String },
    Removed,
}

/// How a user stands in a room behind a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberEnd {
    /// They went at least once: what was kept of them before counts for nothing.
    pub went: bool,
    /// None: no member.
    pub role: Option<String>,
    /// When they were added, ms since 1970, if it was in this batch and they stayed.
    pub added_at_ms: Option<i64>,
}

/// What the records of a batch say of members.
#[derive(Debug, Default)]
pub struct MemberChanges {
    /// In the order of the streams, those stored before included: who they are about is told (again).
    pub all: Vec<MembershipChange>,
    /// What those that are not stored yet come to.
    pub ends: BTreeMap<(RoomId, UserId), MemberEnd>,
}

impl MemberChanges {
    /// Takes in a record that has its place behind the stored head. What it makes of a member that comes or goes
    /// leaves nothing of marks made before.
    pub fn take(
        &mut self,
        partition: Partition,
        room: &RoomId,
        record: &Record,
        marks: &mut BTreeMap<(RoomId, String), Marks>,
    ) -> Result<(), &'static str> {
        let Some(change) = MembershipChange::of(partition, room, record)? else { return Ok(()) };
        let end = self.ends.entry((room.clone(), change.user.clone())).or_default();
        match &change.kind {
            Kind::Added { role } => {
                *end = MemberEnd { role: Some(role.clone()), added_at_ms: Some(record.at_ms), ..*end };
            }
            Kind::Changed { role } if end.role.is_some() || !end.went => end.role = Some(role.clone()),
            // There is nobody to change.
            Kind::Changed { .. } => {}
            Kind::Removed => *end = MemberEnd { went: true, ..MemberEnd::default() },
        }
        self.take_again(change, marks);
        Ok(())
    }

    /// Notes a change, whether it was stored before or not.
    fn take_again(&mut self, change: MembershipChange, marks: &mut BTreeMap<(RoomId, String), Marks>) {
        if !matches!(change.kind, Kind::Changed { .. }) {
            marks.remove(&(change.room.clone(), change.user.as_str().to_owned()));
        }
        self.all.push(change);
    }

    /// Notes a record that is stored already.
    pub fn note_again(
        &mut self,
        partition: Partition,
        room: &RoomId,
        record: &Record,
        marks: &mut BTreeMap<(RoomId, String), Marks>,
    ) {
        // One of another form was put aside when it first came.
        if let Ok(Some(change)) = MembershipChange::of(partition, room, record) {
            self.take_again(change, marks);
        }
    }
}

impl MembershipChange {
    /// `None`: the record changes no membership.
    fn of(partition: Partition, room: &RoomId, record: &Record) -> Result<Option<Self>, &'static str> {
        let kind = record.kind();
        if record.membership().is_empty() {
            return match kind {
                MEMBER_ADDED | MEMBER_CHANGED | MEMBER_REMOVED => Err("a change of nobody's membership"),
                _ => Ok(None),
            };
        }
        let (user, role) = record.membership().split_once('\u{1e}').ok_or("a membership of another form")?;
        let user = UserId::parse(user).map_err(|_| "a membership of no user")?;
        let role = role.to_owned();
        let kind = match kind {
            MEMBER_REMOVED if role == role::REMOVED => Kind::Removed,
            MEMBER_ADDED if role::is_valid(&role) => Kind::Added { role },
            MEMBER_CHANGED if role::is_valid(&role) => Kind::Changed { role },
            _ => return Err("a membership that its type does not fit"),
        };
        let room = room.clone();
        Ok(Some(Self { partition, room, user, epoch: record.epoch, seq: record.seq, kind }))
    }
}
