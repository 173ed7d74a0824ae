//! Checks that the users whom a message mentions may see it: they are members of its room and, if the message is
//! private, belong to its audience. A message without mentions causes no look-up.

use super::{
    append::{AppendError, Entry},
    authority::AuthorityError,
    calls::unavailable,
    commands::Log,
};
use crate::{
    error::Refusal,
    ids::{Epoch, RoomId, UserId},
    message::{Target, change::Change},
    visibility::{Visibility, is_visible_to},
};

impl Log {
    /// Refuses a message that mentions a user who may not see it. Does not refuse a message that was sent before, so
    /// that a repetition gets the answer of the first one, also if a mentioned user has left meanwhile. `entry` must be
    /// the message that the caller appends after this check.
    pub async fn check_mentions(&self, entry: &mut Entry<'_>, mentions: &[UserId]) -> Result<(), Refusal> {
        let (room, Some(sender), Some(client_id)) = (entry.room, entry.sender, &entry.client_id) else {
            return Ok(());
        };
        if self.may_all_see(room, mentions, &entry.visibility, sender.as_str()).await? {
            return Ok(());
        }
        // If the sender marked a repetition as a first attempt, and only PostgreSQL knows the first message, the append
        // would not look up the client id, and would publish the mentions.
        entry.first_attempt = false;
        if self.remembered_event(entry).await?.is_some() {
            return Ok(());
        }
        if self.authority.look_up(room, sender, client_id).await.map_err(unavailable)?.is_none() {
            return Err(mentions_refusal());
        }
        Ok(())
    }

    /// Whether an edit may mention its users. It may mention a user whom the stored message already mentions, and a
    /// user who may see the message. So a repetition is accepted even if Redis no longer has the client id of the edit
    /// and a mentioned user has left.
    pub(super) async fn keeps_or_may_mention(
        &self,
        room: &RoomId,
        change: &Change,
        target: &Target,
    ) -> Result<bool, AppendError> {
        let kept = match self.authority.target(room, change.target).await {
            Ok(stored) => stored.map_or_else(Vec::new, |stored| stored.mentions),
            Err(AuthorityError::NotStored) => Vec::new(),
            Err(error) => return Err(unavailable(error)),
        };
        let added = change.mentions().iter().filter(|user| !kept.contains(user));
        let added: Vec<UserId> = added.cloned().collect();
        self.may_all_see(room, &added, &target.visibility, &target.sender).await
    }

    /// Whether all `users` are members of the room and may see an event of `sender` with this visibility. A membership
    /// may change between this check and the append; then the mention stays, but shows the event to nobody.
    pub(super) async fn may_all_see(
        &self,
        room: &RoomId,
        users: &[UserId],
        visibility: &Visibility,
        sender: &str,
    ) -> Result<bool, AppendError> {
        if users.is_empty() {
            return Ok(true);
        }
        // The marks are read before the stored roles. So a change that is not stored yet is in the marks.
        let names: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let marks = self.read(room, None, Epoch(0), None, &names).await?.marks;
        let unmarked = users.iter().zip(&marks).filter(|(_, mark)| mark.is_none());
        let unmarked: Vec<UserId> = unmarked.map(|(user, _)| user.clone()).collect();
        let stored = match unmarked.as_slice() {
            [] => Vec::new(),
            unmarked => self.authority.roles(room, unmarked).await.map_err(unavailable)?,
        };
        let (mut stored, audience) = (stored.into_iter(), visibility.encode());
        Ok(users.iter().zip(marks).all(|(user, mark)| {
            let role = mark.map_or_else(|| stored.next().flatten(), |mark| mark.role);
            role.is_some_and(|role| is_visible_to(&audience, sender, user.as_str(), &role))
        }))
    }
}

/// The refusal of a mention. It is the same for a user who does not exist, is no member, or is outside of the audience.
pub(super) fn mentions_refusal() -> Refusal {
    let message = "`mentions` may name only members of the room who may see the message";
    Refusal::bad_field("mentions", message)
}
