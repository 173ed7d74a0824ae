//! Parses records that change memberships, and combines several changes of one user in a batch. Pure.
//! Refuses a record that does not name a member. The reason never quotes the record.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Record, keys::Partition},
    role,
};

use super::Marks;

/// The event types that change a membership.
pub use tidings_shared::events::{MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED};

/// One membership change in a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipChange {
    pub partition: Partition,
    pub room: RoomId,
    pub user: UserId,
    pub epoch: Epoch,
    pub seq: Seq,
    pub kind: MembershipChangeKind,
}

/// How a membership changed; `role` is the role after the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipChangeKind {
    Added { role: String },
    Changed { role: String },
    Removed,
}

/// The membership of a user after a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinalMembership {
    /// The batch removed the user at least once, so the stored marks of the user are deleted.
    pub was_removed: bool,
    /// What the last removal in the batch means for a later join: `removed` if another user removed this user, else the
    /// role that the batch gave before the user left. None if there was no removal, or if the user left with the role
    /// that is stored.
    pub left_as: Option<String>,
    /// The user's role after the batch; None if the user is not a member.
    pub role: Option<String>,
    /// The seq and the time (ms since 1970) of the event by which this batch added the user. None if the batch did not
    /// add the user, or removed the user again.
    pub added: Option<(Seq, i64)>,
    /// Whether another user added the user in this batch.
    pub added_by_other: bool,
}

/// The membership changes of a batch.
#[derive(Debug, Default)]
pub struct MemberChanges {
    /// All changes in stream order. Includes changes that were stored before, because their users are notified again.
    pub all: Vec<MembershipChange>,
    /// For each user whose membership changes: the combined effect of the records that are not stored yet.
    pub final_memberships: BTreeMap<(RoomId, UserId), FinalMembership>,
}

impl MemberChanges {
    /// Merges a record that follows the stored head. If it adds or removes a user, drops that user's earlier `marks`.
    pub fn merge(
        &mut self,
        partition: Partition,
        room: &RoomId,
        record: &Record,
        marks: &mut BTreeMap<(RoomId, String), Marks>,
    ) -> Result<(), &'static str> {
        let Some(change) = MembershipChange::from_record(partition, room, record)? else { return Ok(()) };
        let state = self.final_memberships.entry((room.clone(), change.user.clone())).or_default();
        match &change.kind {
            MembershipChangeKind::Added { role } => {
                state.role = Some(role.clone());
                state.added = Some((record.seq, record.at_ms));
                state.added_by_other = record.sender() != change.user.as_str();
            }
            MembershipChangeKind::Changed { role } if state.role.is_some() || !state.was_removed => {
                state.role = Some(role.clone())
            }
            // A change of the role of a user who is not a member has no effect.
            MembershipChangeKind::Changed { .. } => {}
            MembershipChangeKind::Removed => {
                let by_other = record.sender() != change.user.as_str();
                let left_as = if by_other { Some(role::REMOVED.to_owned()) } else { state.role.take() };
                *state = FinalMembership { was_removed: true, left_as, ..FinalMembership::default() }
            }
        }
        self.push_change(change, marks);
        Ok(())
    }

    /// Adds a change to `all`. If it adds or removes a user, drops that user's earlier `marks`.
    fn push_change(&mut self, change: MembershipChange, marks: &mut BTreeMap<(RoomId, String), Marks>) {
        if !matches!(change.kind, MembershipChangeKind::Changed { .. }) {
            marks.remove(&(change.room.clone(), change.user.as_str().to_owned()));
        }
        self.all.push(change);
    }

    /// Adds the membership change of a record that an earlier batch stored, so that the affected user is notified
    /// again. Does not change `final_memberships`. An addition or removal drops the user's earlier `marks`.
    pub fn merge_stored(
        &mut self,
        partition: Partition,
        room: &RoomId,
        record: &Record,
        marks: &mut BTreeMap<(RoomId, String), Marks>,
    ) {
        // A malformed record is ignored, because it was rejected when it was first read.
        if let Ok(Some(change)) = MembershipChange::from_record(partition, room, record) {
            self.push_change(change, marks);
        }
    }
}

impl MembershipChange {
    /// Parses a record; None if it changes no membership.
    fn from_record(
        partition: Partition,
        room: &RoomId,
        record: &Record,
    ) -> Result<Option<Self>, &'static str> {
        let kind = record.kind();
        if record.membership().is_empty() {
            return match kind {
                MEMBER_ADDED | MEMBER_CHANGED | MEMBER_REMOVED => Err("a membership change without a member"),
                _ => Ok(None),
            };
        }
        let (user, role) =
            record.membership().split_once('\u{1e}').ok_or("a membership of an unexpected form")?;
        let user = UserId::parse(user).map_err(|_| "a membership without a valid user")?;
        let role = role.to_owned();
        let kind = match kind {
            MEMBER_REMOVED if role == role::REMOVED => MembershipChangeKind::Removed,
            MEMBER_ADDED if role::is_valid(&role) => MembershipChangeKind::Added { role },
            MEMBER_CHANGED if role::is_valid(&role) => MembershipChangeKind::Changed { role },
            _ => return Err("a membership that does not fit its event type"),
        };
        let room = room.clone();
        Ok(Some(Self { partition, room, user, epoch: record.epoch, seq: record.seq, kind }))
    }
}
