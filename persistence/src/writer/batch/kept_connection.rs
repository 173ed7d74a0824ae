//! A connection that the writer keeps from one batch to the next, because the pool tests returned connections with a
//! round trip. A kept connection returns to the pool after [`MAX_KEPT_DURATION`], and after any failure.

use std::time::{Duration, Instant};

use sea_orm::sqlx::{Postgres, pool::PoolConnection};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

/// How long a connection is kept. The pool tests returned connections and closes those that are read-only or silent.
/// Keeping a connection delays this test.
const MAX_KEPT_DURATION: Duration = Duration::from_secs(1);

/// The pool of the writer, and the connection that it keeps.
pub struct KeptConnection {
    pool: DatabaseConnection,
    kept: Option<TakenConnection>,
}

/// A connection that is in use. It returns to the pool when it is dropped.
pub(super) struct TakenConnection {
    pub connection: PoolConnection<Postgres>,
    since: Instant,
}

impl KeptConnection {
    #[must_use]
    pub fn new(pool: DatabaseConnection) -> Self {
        Self { pool, kept: None }
    }

    /// The pool, for work that needs another connection.
    pub(super) fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// Takes the kept connection, or one from the pool if none is kept or it was kept for too long.
    pub(super) async fn take(&mut self) -> Result<TakenConnection, DbErr> {
        self.release_expired();
        if let Some(kept) = self.kept.take() {
            return Ok(kept);
        }
        let connection = self.pool.get_postgres_connection_pool().acquire().await;
        let connection = connection.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        Ok(TakenConnection { connection, since: Instant::now() })
    }

    /// Keeps a connection whose last statement succeeded.
    pub(super) fn keep(&mut self, taken: TakenConnection) {
        self.kept = Some(taken);
    }

    /// Gives the connection back to the pool if it was kept for too long.
    pub fn release_expired(&mut self) {
        self.kept.take_if(|kept| kept.since.elapsed() >= MAX_KEPT_DURATION);
    }
}
