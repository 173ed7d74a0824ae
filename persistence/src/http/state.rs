//! State that the handlers share: the database, the log, the authentication, and the limits. Only this file of `http`
//! accesses the membership cache.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest};
use sea_orm::DatabaseConnection;
use tidings_shared::auth::Verifier;
use tidings_shared::error::Refusal;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{Log, keys::Partition};
use tidings_shared::membership;
use tidings_shared::origin::AllowedOrigins;
use tidings_shared::rate::Rate;
use tidings_shared::receipts::Receipts;
use tidings_shared::request_slots::{RequestSlots, SlotGuard};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::allowance::{RateLimitKind, RateLimiters};
use super::change_notices::ChangeNotice;
use super::feed_watch::FeedWatch;
use super::problem::Problem;
use super::read_slots::{ReadPermit, ReadSlots};
use crate::membership::{MembershipLimits, MembershipService};
use crate::query::{self, Access, Viewer};
use crate::writer::daily_limits::DailyLimits;
use crate::writer::users::UnknownUserPolicy;

/// How many requests may wait at the same time until records are stored or an erasure is finished: in total, and per
/// user. A waiting request repeatedly reads one row.
const MAX_WAITING_REQUESTS: (usize, usize) = (256, 16);
/// How long a request for events waits until its `upto` is stored.
const STORED_WAIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many exports may run at the same time: in total, and per user. An export lasts until its client has read it.
const MAX_EXPORT_REQUESTS: (usize, usize) = (4, 1);
/// How many requests for the feed may run or wait at the same time: in total, and per user. One user may be many
/// consumers.
const MAX_FEED_REQUESTS: (usize, usize) = (64, 64);
/// How many of them may read at the same time.
const MAX_FEED_READS: (usize, usize) = (4, 4);
/// How long such a read waits. It uses no database connection while it waits.
const FEED_READ_TIMEOUT: Duration = Duration::from_secs(3);
/// How many times a failed notice to the cache is sent again, and the pause before each retry.
const MAX_NOTICE_RETRIES: u32 = 60;
const NOTICE_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The version of a user's list of rooms that is answered while Redis is unavailable.
const UNKNOWN_VERSION: &str = "unknown";

/// The configured limits of the public HTTP API.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest text of a message, in Unicode scalar values.
    pub max_message_chars: usize,
    pub max_members_per_room: NonZeroU32,
    /// Rooms that a user may have created or joined.
    pub max_rooms_per_user: NonZeroU32,
    /// Rooms to which others may have added a user.
    pub max_rooms_by_others: NonZeroU32,
    pub daily: DailyLimits,
    /// The rate limit for commands of one user on this node. The next three rates are per user and node too.
    pub commands: Rate,
    pub marks: Rate,
    pub presence: Rate,
    pub reads: Rate,
    /// Maximum number of concurrent slow reads; one user may have a quarter of them.
    /// The number is half the size of the connection pool, so that other requests do not wait for these reads.
    pub read_slots: usize,
}

/// The state of the public HTTP API, shared by all of its threads.
pub struct State {
    pub db: DatabaseConnection,
    /// Only for the accounts of callers: no other query delays authentication.
    pub accounts_db: DatabaseConnection,
    pub auth: Arc<Verifier>,
    pub log: Arc<Log>,
    /// Appends read and delivered marks to the logs.
    pub receipts: Arc<Receipts>,
    pub limits: Limits,
    pub origins: AllowedOrigins,
    pub unknown_users: UnknownUserPolicy,
    pub(super) memberships: MembershipService,
    pub(super) allowance: Arc<RateLimiters>,
    /// The tasks that retry failed notices to the caches; the drain of the service waits for them.
    pub notice_retries: TaskTracker,
    /// Permits for requests that wait until a seq is stored or an erasure is finished.
    pub(super) wait_slots: RequestSlots,
    pub(super) export_slots: RequestSlots,
    pub(super) feed_slots: RequestSlots,
    feed_reads: RequestSlots,
    pub(super) feed_watch: FeedWatch,
    pub(super) reads: Arc<ReadSlots>,
    /// Notifies the task that erases users.
    pub(super) erasure_requested: Arc<Notify>,
}

impl State {
    /// Creates the state from the pools for requests and for the accounts of callers. Its tasks run on the current
    /// runtime.
    #[must_use]
    pub fn new(
        (db, accounts_db): (DatabaseConnection, DatabaseConnection),
        auth: Arc<Verifier>,
        log: Arc<Log>,
        limits: Limits,
        origins: AllowedOrigins,
        unknown_users: UnknownUserPolicy,
        erasure_requested: Arc<Notify>,
    ) -> Self {
        let notice_retries = TaskTracker::new();
        let [wait_slots, export_slots, feed_slots, feed_reads] =
            [MAX_WAITING_REQUESTS, MAX_EXPORT_REQUESTS, MAX_FEED_REQUESTS, MAX_FEED_READS]
                .map(|(all, each)| RequestSlots::new(all, each));
        let feed_watch = FeedWatch::start(db.clone());
        let receipts = Receipts::start(log.clone());
        let bounds = MembershipLimits {
            members_per_room: limits.max_members_per_room.get(),
            rooms_per_user: limits.max_rooms_per_user.get(),
            rooms_by_others: limits.max_rooms_by_others.get(),
        };
        let memberships = MembershipService {
            db: db.clone(),
            log: log.clone(),
            unknown_users,
            bounds,
            daily_limits: Some(limits.daily),
        };
        let allowance = RateLimiters::start(|kind| match kind {
            RateLimitKind::Commands => limits.commands,
            RateLimitKind::Marks => limits.marks,
            RateLimitKind::Presence => limits.presence,
            RateLimitKind::Reads => limits.reads,
            RateLimitKind::Content => limits.commands.content_of_user(),
        });
        let reads = Arc::new(ReadSlots::new(limits.read_slots, allowance.clone()));
        Self {
            db,
            accounts_db,
            auth,
            log,
            receipts,
            limits,
            origins,
            unknown_users,
            memberships,
            allowance,
            notice_retries,
            wait_slots,
            export_slots,
            feed_slots,
            feed_reads,
            feed_watch,
            reads,
            erasure_requested,
        }
    }

    /// The viewer's access to a room. Refuses a room that does not exist or that the viewer may not see.
    pub(super) async fn access(&self, viewer: Viewer<'_>, room: &RoomId) -> Result<Access, Problem> {
        query::access(&self.db, viewer, room).await?.ok_or_else(Problem::no_such_room)
    }

    /// Waits for a slot to read from the feed. Refuses with `overloaded` if all consumers together read too much.
    pub(super) async fn admit_feed_read(&self, user: &UserId) -> Result<SlotGuard, Problem> {
        Ok(self.feed_reads.acquire_within(user, "reads of the feed", FEED_READ_TIMEOUT).await?)
    }

    /// Returns when the room's stored head is at least `upto`. Holds no database connection and no slot of reads while
    /// it waits. Refuses with `unavailable` after five seconds, with `rate_limited` if the user has too many waiting
    /// requests, and with `overloaded` if all users together have too many.
    pub(super) async fn wait_until_stored(
        &self,
        request: &HttpRequest,
        user: &UserId,
        room: &RoomId,
        upto: i64,
    ) -> Result<(), Problem> {
        let _permit = self.wait_slots.acquire(user, "waits for the log to be stored")?;
        let mut read = request.extensions_mut().remove::<ReadPermit>();
        if let Some(read) = &mut read {
            read.release_slot();
        }
        let seq = Seq(u64::try_from(upto).unwrap_or_default());
        if !query::wait_until_stored(&self.db, room, seq, Instant::now() + STORED_WAIT_TIMEOUT).await? {
            let message = format!("seq {upto} of the room is not stored yet; retry");
            return Err(Refusal::unavailable(message).into());
        }
        if let Some(mut read) = read {
            read.acquire_slot().await?;
            request.extensions_mut().insert(read);
        }
        Ok(())
    }

    /// The version of a user's list of rooms. Must be read before the list: if the list changes between the two reads,
    /// the client gets the new list with the old version, and reads the list again. While Redis is unavailable, returns
    /// a version that no list has, so that the client reads the list again later.
    pub(super) async fn rooms_version(&self, user: &UserId) -> String {
        let version = async {
            let session = self.log.current_session(Partition::of_user(user))?;
            let counter = membership::version(&mut session.connection(), user).await.inspect_err(|error| {
                tracing::warn!(kind = ?error.kind(), code = error.code(), "reading the version of a list of rooms failed");
                self.log.discard_if_unusable(&session, error);
            });
            Some(membership::wire_version(session.epoch, counter.ok()?))
        };
        version.await.unwrap_or_else(|| UNKNOWN_VERSION.to_owned())
    }

    /// Sends a notice before the change is committed. It invalidates cached values even if this process crashes before
    /// `notify`, and it proves that Redis is reachable. Refuses with `unavailable` if Redis is not reachable.
    pub(super) async fn notify_before(&self, notice: &ChangeNotice) -> Result<(), Problem> {
        if notice.send(&self.db, &self.log).await.is_empty() {
            return Ok(());
        }
        Err(Refusal::unavailable("the room log is unavailable; retry").into())
    }

    /// Sends a notice after the change is committed. Users to whom it cannot be sent get it later, in the background.
    pub(super) async fn notify(&self, mut notice: ChangeNotice) {
        let unsent = notice.send(&self.db, &self.log).await;
        if unsent.is_empty() {
            return;
        }
        notice.retain_users(&unsent);
        let (db, log) = (self.db.clone(), self.log.clone());
        self.notice_retries.spawn(async move {
            for _ in 0..MAX_NOTICE_RETRIES {
                tokio::time::sleep(NOTICE_RETRY_PAUSE).await;
                let unsent = notice.send(&db, &log).await;
                if unsent.is_empty() {
                    return;
                }
                notice.retain_users(&unsent);
            }
            tracing::error!("a committed change could not be sent to Redis");
        });
    }
}
