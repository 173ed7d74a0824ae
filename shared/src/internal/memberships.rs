//! Requests of gateways for the memberships of users. In a new epoch nearly all users of a gateway need them at once, so
//! one request asks for many users.

use super::{InternalClient, ROOMS_PATH, RoomsAnswer, RoomsRequest, UserRooms};
use crate::{
    ids::{Epoch, RoomId, UserId},
    log::AuthorityError,
};

/// How often a user's memberships are asked for together with those of others.
const MAX_SHARED_TRIES: usize = 2;

impl InternalClient {
    /// Loads a user's memberships from PostgreSQL. The answer is valid in `epoch` or a later one. Persistence also
    /// tries to write it into the membership cache.
    pub async fn rooms(&self, user: &UserId, epoch: Epoch) -> Result<UserRooms, AuthorityError> {
        for _ in 0..MAX_SHARED_TRIES {
            let request = |users| self.rooms_of_many(users);
            if let Some(rooms) = self.membership_loads.ask((user.clone(), epoch), request).await? {
                return Ok(rooms);
            }
            // One user waits for the writers of an earlier epoch. The others ask again together when this user has the
            // answer, because they nearly always wait for the same partitions.
            match self.earlier_epoch.try_lock() {
                Ok(_first) => return self.rooms_of_one(user, epoch).await,
                Err(_) => drop(self.earlier_epoch.lock().await),
            }
        }
        self.rooms_of_one(user, epoch).await
    }

    async fn rooms_of_one(&self, user: &UserId, epoch: Epoch) -> Result<UserRooms, AuthorityError> {
        let request = RoomsRequest { user: user.clone(), epoch: epoch.0, recent_only: false, more: None };
        Ok(self.send_request::<RoomsAnswer>(ROOMS_PATH, &request).await?.first)
    }

    /// Loads the memberships of some users, in the same order. They are `None` for a user with very many rooms, or whose
    /// memberships a writer of an earlier epoch may still change.
    async fn rooms_of_many(
        &self,
        mut users: Vec<(UserId, Epoch)>,
    ) -> Result<Vec<Option<UserRooms>>, AuthorityError> {
        let epoch = users.iter().map(|(_, epoch)| epoch.0).max().unwrap_or_default();
        let (user, _) = users.remove(0);
        let more = Some(users.into_iter().map(|(user, _)| user).collect());
        let request = RoomsRequest { user, epoch, recent_only: false, more };
        let answer: RoomsAnswer = self.send_request(ROOMS_PATH, &request).await?;
        let first = (!answer.is_first_missing).then_some(answer.first);
        Ok(std::iter::once(first).chain(answer.more).collect())
    }

    /// Loads a user's 200 most recently active rooms, newest first, without the memberships.
    pub async fn recent_rooms(&self, user: &UserId) -> Result<Vec<RoomId>, AuthorityError> {
        let request = RoomsRequest { user: user.clone(), epoch: 0, recent_only: true, more: None };
        Ok(self.send_request::<RoomsAnswer>(ROOMS_PATH, &request).await?.first.recent)
    }
}
