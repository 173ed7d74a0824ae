//! What the handlers share: the database, the log, who may come in, and the limits.
//! The one place of `http` that touches the membership cache.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::auth::Verifier;
use tidings_shared::error::Refusal;
use tidings_shared::ids::UserId;
use tidings_shared::log::Log;
use tidings_shared::membership;
use tidings_shared::origin::AllowedOrigins;
use tidings_shared::places::Places;
use tidings_shared::rate::Rate;
use tidings_shared::receipts::Receipts;
use tokio_util::task::TaskTracker;

use super::allowance::{Allowance, Kind};
use super::news::News;
use super::problem::Problem;
use crate::account::Newcomers;
use crate::membership::{Bounds, Memberships};

/// Requests that may wait for what is stored by others at one time, and those of one user; each reads one row now and
/// then.
const WAITING: (usize, usize) = (256, 16);
/// Pages of history that may look through many messages which are private to others.
const WALKING: (usize, usize) = (8, 2);
/// Exports: each reads as fast as it is taken.
const EXPORTING: (usize, usize) = (4, 1);
/// A cache that could not be told of a change is told again this often, with this pause.
const RETELL_TIMES: u32 = 60;
const RETELL_PAUSE: Duration = Duration::from_secs(1);

/// What stands for the version of a list of rooms while it cannot be read.
const UNKNOWN_VERSION: &str = "unknown";

/// Bounds of what clients may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Text of a message, in Unicode scalar values.
    pub max_message_chars: usize,
    pub max_members_per_room: NonZeroU32,
    pub max_rooms_per_user: NonZeroU32,
    /// What one user may do through this node.
    pub commands: Rate,
    pub marks: Rate,
    pub presence: Rate,
}

impl Limits {
    /// How fast commands of this kind may come.
    fn rate(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Commands => self.commands,
            Kind::Marks => self.marks,
            Kind::Presence => self.presence,
        }
    }
}

/// Shared by all workers.
pub struct State {
    pub db: DatabaseConnection,
    pub auth: Arc<Verifier>,
    pub log: Arc<Log>,
    /// The way of read and delivered marks.
    pub receipts: Arc<Receipts>,
    pub limits: Limits,
    pub origins: AllowedOrigins,
    pub newcomers: Newcomers,
    pub(super) memberships: Memberships,
    pub(super) allowance: Arc<Allowance>,
    /// Changes that the membership cache is still to be told of: the end of the service waits for them.
    pub telling: TaskTracker,
    /// Who waits for a position to be stored, or for an erasure.
    pub(super) waiting: Places,
    pub(super) walking: Places,
    pub(super) exporting: Places,
}

impl State {
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        auth: Arc<Verifier>,
        log: Arc<Log>,
        limits: Limits,
        origins: AllowedOrigins,
        newcomers: Newcomers,
    ) -> Self {
        let telling = TaskTracker::new();
        let [waiting, walking, exporting] =
            [WAITING, WALKING, EXPORTING].map(|(all, each)| Places::new(all, each));
        let receipts = Receipts::start(log.clone());
        let bounds = Bounds {
            members_per_room: limits.max_members_per_room.get(),
            rooms_per_user: limits.max_rooms_per_user.get(),
        };
        let memberships = Memberships { db: db.clone(), log: log.clone(), newcomers, bounds };
        let allowance = Allowance::start(|kind| limits.rate(kind));
        Self {
            db,
            auth,
            log,
            receipts,
            limits,
            origins,
            newcomers,
            memberships,
            allowance,
            telling,
            waiting,
            walking,
            exporting,
        }
    }

    /// The version of a user's list of rooms. To be read before the list: then a change in between
    /// shows as another version, never as a list that is too old for its version. While Redis is out of
    /// reach the list is given all the same, with a version that no list has: it will be asked for again.
    pub(super) async fn rooms_version(&self, user: &UserId) -> String {
        let version = async {
            let session = self.log.current_session()?;
            match membership::version(&mut session.connection(), user).await {
                Ok(counter) => Some(membership::wire_version(session.epoch, counter)),
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), code = error.code(), "reading the version of a list of rooms failed");
                    self.log.failed(&session, &error);
                    None
                }
            }
        };
        version.await.unwrap_or_else(|| UNKNOWN_VERSION.to_owned())
    }

    /// Has this told before what it tells of is changed: whoever dies between the change and the telling of it leaves
    /// nothing behind that was cached before. Proves as well that Redis can be told.
    pub(super) async fn tell_before(&self, news: &News) -> Result<(), Problem> {
        if news.tell(&self.db, &self.log).await {
            return Ok(());
        }
        Err(Refusal::unavailable("the room log is out of reach; try again").into())
    }

    /// Has this told after the change is committed. What cannot be told now is told again behind the answer: the
    /// change itself stands.
    pub(super) async fn tell(&self, news: News) {
        if news.tell(&self.db, &self.log).await {
            return;
        }
        let (db, log) = (self.db.clone(), self.log.clone());
        self.telling.spawn(async move {
            for _ in 0..RETELL_TIMES {
                tokio::time::sleep(RETELL_PAUSE).await;
                if news.tell(&db, &log).await {
                    return;
                }
            }
            tracing::error!("Redis could not be told of a change that is committed");
        });
    }
}
