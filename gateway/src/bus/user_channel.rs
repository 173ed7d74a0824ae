//! Passes the notices on a user's channel to all connections of the user on this node. The node is subscribed to the
//! channel while the user has a connection to the node.
//!
//! The registration of a connection begins before the user's memberships and account are read. The registration waits
//! until Redis has confirmed the channel, so that later changes arrive as notices. After a second without confirmation
//! the connection is admitted anyway. Then the user's versions are compared with Redis (see `recheck`) when Redis
//! confirms the channel. They are also compared after a notice that was not delivered. So no lasting change is missed,
//! but live-only frames may be lost.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_shared::{
    error::Refusal,
    ids::{Epoch, UserId},
    log::{Layout, RoundTrip},
    membership::Versions,
    people::{self, UserNotice},
    presence,
};

use super::{
    Bus, LookupError, SharedState,
    connections::ConnectionKey,
    worker_queue::{UserEvent, WorkerMessage},
};
use crate::{lock::lock, transport::Frame};

/// How long the registration of a connection waits until Redis has confirmed the user's channel.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

/// The registration of a connection that is being admitted. Dropping this value cancels the registration.
pub struct PendingRegistration {
    bus: Arc<Bus>,
    user: UserId,
    notice_count: u16,
    registered: bool,
}

impl Drop for PendingRegistration {
    fn drop(&mut self) {
        if !self.registered {
            self.bus
                .unsubscribe_if_unused(|connections| connections.cancel_registration(&self.user), &self.user);
        }
    }
}

impl PendingRegistration {
    /// Registers the connection with the `versions` of memberships and account that it has read. The versions must be
    /// read after [`Bus::begin_registration`].
    pub fn register(mut self, key: ConnectionKey, versions: (Epoch, Versions)) {
        self.registered = true;
        let shared = &self.bus.shared;
        let result = lock(&shared.connections).register(&self.user, key, self.notice_count, versions);
        if let Some(surplus) = result.surplus {
            let event = Arc::new(UserEvent::Surplus(surplus));
            if !shared.send_to_workers(&self.user, 1 << surplus.worker(), &event) {
                lock(&shared.connections).restore_oldest(&self.user, surplus);
            }
        }
        if result.missed_notice {
            shared.recheck.schedule_check(&self.user);
        }
    }
}

impl Bus {
    /// Begins the registration of a connection: subscribes to the user's channel, and waits at most a second for the
    /// confirmation. Refuses the connection as overloaded if too many subscriptions are waiting.
    pub async fn begin_registration(self: &Arc<Self>, user: &UserId) -> Result<PendingRegistration, Refusal> {
        let layout = self.log.session_of_user(user).await.map_err(LookupError::from)?.layout();
        self.enter_layout(layout)?;
        let confirmation = {
            let mut connections = lock(&self.shared.connections);
            let confirmation = if connections.is_channel_confirmed(user) {
                None
            } else {
                let channel = people::channel(layout, user);
                Some(self.subscriber.subscribe(channel).ok_or_else(too_many_requests)?)
            };
            let generation = connections.begin_registration(user);
            self.shared
                .metrics
                .user_channels
                .set(i64::try_from(connections.user_count()).unwrap_or(i64::MAX));
            confirmation.map(|confirmation| (confirmation, generation))
        };
        let mut pending =
            PendingRegistration { bus: self.clone(), user: user.clone(), notice_count: 0, registered: false };
        if let Some((mut confirmed, generation)) = confirmation {
            match tokio::time::timeout(CONFIRM_TIMEOUT, &mut confirmed).await {
                Ok(confirmed) => {
                    confirmed.map_err(|_| too_many_requests())?;
                    lock(&self.shared.connections).confirm_channel(user, generation);
                }
                Err(_) => {
                    let (shared, user) = (self.shared.clone(), user.clone());
                    tokio::spawn(async move {
                        if confirmed.await.is_ok() {
                            lock(&shared.connections).confirm_channel(&user, generation);
                            shared.recheck.schedule_check(&user);
                        }
                    });
                }
            }
        }
        pending.notice_count = lock(&self.shared.connections).notice_count(user);
        Ok(pending)
    }

    /// Names the channels of users and of presence in this layout from now on. Subscribes to the channels of presence,
    /// and to those of the connected users if they were named in another layout. Refuses as overloaded if too many
    /// requests are waiting; then the next call tries again.
    pub(super) fn enter_layout(&self, layout: Layout) -> Result<(), Refusal> {
        if *lock(&self.shared.layout) == Some(layout) {
            return Ok(());
        }
        let connections = lock(&self.shared.connections);
        let mut current = lock(&self.shared.layout);
        if *current == Some(layout) {
            return Ok(());
        }
        let names = |layout| {
            let users = connections.users().map(move |user| people::channel(layout, user));
            presence::channels(layout).into_iter().chain(users)
        };
        for name in names(layout) {
            let _confirmed = self.subscriber.subscribe(name).ok_or_else(too_many_requests)?;
        }
        // A single Redis has become a cluster. Its process has changed, so all users are checked after that.
        if let Some(earlier) = *current
            && names(earlier).filter(|name| !self.subscriber.unsubscribe(name.clone())).count() > 0
        {
            tracing::warn!(
                "channels of an earlier layout stay subscribed because too many requests are waiting"
            );
        }
        *current = Some(layout);
        Ok(())
    }

    /// Unregisters a connection. If it was the user's last one, unsubscribes the user's channel.
    pub fn unregister(&self, user: &UserId, key: ConnectionKey) {
        self.unsubscribe_if_unused(|connections| connections.unregister(user, key), user);
    }

    /// Calls `remove` with the registry, and unsubscribes the user's channel if `remove` returns true.
    fn unsubscribe_if_unused(
        &self,
        remove: impl FnOnce(&mut super::connections::ConnectionRegistry) -> bool,
        user: &UserId,
    ) {
        let mut connections = lock(&self.shared.connections);
        // The request is made under the lock, so that it cannot overtake a request of another connection.
        let layout = *lock(&self.shared.layout);
        if remove(&mut connections)
            && let Some(layout) = layout
            && !self.subscriber.unsubscribe(people::channel(layout, user))
        {
            tracing::warn!("a user's channel stays subscribed because too many requests are waiting");
        }
        self.shared.metrics.user_channels.set(i64::try_from(connections.user_count()).unwrap_or(i64::MAX));
    }

    /// Reads the versions of a user's memberships and account from Redis. Must be called after
    /// [`Bus::begin_registration`], so that later changes arrive as notices.
    pub async fn read_versions(&self, user: &UserId) -> Result<(Epoch, Versions), LookupError> {
        let session = self.log.session_of_user(user).await?;
        let users = std::slice::from_ref(user);
        let query = async { tidings_shared::membership::versions(&mut session.connection(), users).await };
        let versions = self.timed_query(RoundTrip::People, &session, query).await?;
        Ok((session.epoch, versions.first().copied().unwrap_or_default()))
    }
}

impl SharedState {
    /// Sends a notice from a user's channel to the user's connections. Schedules a check of the user if the notice is
    /// about the account, or if a queue was full and the notice is neither a read mark nor activity.
    pub(super) fn handle_user_notice(&self, user: &str, payload: &Bytes) {
        let Some(notice) = UserNotice::parse(payload) else {
            tracing::error!("a published notice for a user cannot be parsed");
            return;
        };
        let (kind, event) = match notice {
            UserNotice::Frame(frame) => ("frame", Some(UserEvent::Frame(Frame::text(&frame)))),
            UserNotice::Read { room, pushed, frame } => {
                ("read", Some(UserEvent::Read { room, pushed, frame: Frame::text(&frame) }))
            }
            UserNotice::Activity { room, frame } => {
                ("activity", Some(UserEvent::Activity { room, frame: Frame::text(&frame) }))
            }
            UserNotice::Membership { room, seq, frame } => {
                ("membership", Some(UserEvent::Membership { room, seq, frame: Frame::text(&frame) }))
            }
            UserNotice::Account => ("account", None),
        };
        self.metrics.notices.with_label_values(&[kind]).inc();
        // Whether the notice may be dropped, because clients also get its content by their reads.
        let is_expendable = matches!(kind, "read" | "activity");
        let (workers, user) = {
            let mut connections = lock(&self.connections);
            let connected =
                if is_expendable { connections.find_user(user) } else { connections.count_notice(user) };
            // `None` means that the user's last connection ended before the notice arrived.
            let Some(user) = connected else { return };
            match kind {
                "membership" => connections.invalidate_rooms(&user),
                "account" => connections.invalidate_account(&user),
                _ => {}
            }
            (connections.workers(&user), user)
        };
        let Some(event) = event else { return self.recheck.schedule_check(&user) };
        if !self.send_to_workers(&user, workers, &Arc::new(event)) && !is_expendable {
            lock(&self.connections).invalidate_rooms(&user);
            self.recheck.schedule_check(&user);
        }
    }

    /// Sends an event to the workers whose bits are set in `workers`. Returns false if a queue was full.
    pub(super) fn send_to_workers(&self, user: &UserId, workers: u64, event: &Arc<UserEvent>) -> bool {
        let message = WorkerMessage::User { user: user.clone(), event: event.clone() };
        let all_sent = lock(&self.interest).send_to_workers(workers, &message);
        if !all_sent {
            self.metrics.notices.with_label_values(&["dropped"]).inc();
        }
        all_sent
    }
}

fn too_many_requests() -> Refusal {
    Refusal::overloaded("too many users connect at the same time; retry")
}
