//! Checks that the users whom a message mentions may see it: they are members of its room and, if the message is
//! private, belong to its audience. A message without mentions causes no look-up.

use super::{
    append::{AppendError, Entry},
    calls::unavailable,
    commands::Log,
};
use crate::{
    error::Refusal,
    events::MESSAGE_NEW,
    ids::{Epoch, RoomId, UserId},
    message::Draft,
    visibility::{Visibility, is_visible_to},
};

impl Log {
    /// Refuses a message that mentions a user who may not see it. Does not refuse a message that was sent before, so
    /// that a repetition gets the answer of the first one, also if a mentioned user has left meanwhile.
    pub async fn check_mentions(&self, room: &RoomId, sender: &UserId, draft: &Draft) -> Result<(), Refusal> {
        if self.may_all_see(room, &draft.mentions, &draft.visibility, sender.as_str()).await? {
            return Ok(());
        }
        let repetition = Entry {
            sender: Some(sender),
            client_id: Some(draft.client_id.clone()),
            is_change: false,
            ..Entry::new(room, MESSAGE_NEW, String::new())
        };
        if self.remembered_event(&repetition).await?.is_some() {
            return Ok(());
        }
        let known = self.authority.look_up(room, sender, &draft.client_id).await.map_err(unavailable)?;
        if known.is_some() { Ok(()) } else { Err(mentions_refusal()) }
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
