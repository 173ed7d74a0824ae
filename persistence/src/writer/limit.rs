//! Time limits for statements that this process enforces. The limits of the server have no effect if its host is
//! silent.

use std::time::Duration;

use sea_orm::DbErr;

use super::failure::NO_ANSWER;

/// How long this process waits for an answer of PostgreSQL. The server's own limit for a statement is shorter.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Runs `work`, and cancels it after `limit` with [`DbErr::Custom`]. Cancelled work may be committed or not.
pub async fn within<T, E: From<DbErr>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(DbErr::Custom(format!("{NO_ANSWER} in {limit:?}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::{failure, outcome::WriteError};

    #[tokio::test]
    async fn silent_server_is_given_up_after_the_limit() {
        let silent = std::future::pending::<Result<(), WriteError>>();
        let given_up = within(Duration::from_millis(10), silent).await;
        let Err(WriteError::Stuck(error)) = given_up else { panic!("{given_up:?}") };
        // Otherwise the writer would look for locked rows, and mistake the locks of its own batch for those of others.
        assert!(!failure::is_time_limit_error(&error), "{error}");
        assert!(within(ANSWER_DEADLINE, async { Ok::<_, DbErr>(7) }).await.is_ok_and(|seven| seven == 7));
    }
}
