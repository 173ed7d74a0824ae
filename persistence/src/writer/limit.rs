//! A bound on this side for what waits for PostgreSQL: the server's own limits are of no use when its host is silent.

use std::time::Duration;

use sea_orm::DbErr;

/// One answer of the writer's; a statement's own limit on the server is shorter.
pub const ANSWER: Duration = Duration::from_secs(15);

/// Gives up after `limit`. What was being done is cut off: it may or may not be committed.
///
/// # Errors
/// Those of the work; [`DbErr::Custom`] when the time is up.
pub async fn within<T, E: From<DbErr>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(DbErr::Custom(format!("no answer of PostgreSQL in {limit:?}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::batch::WriteError;

    #[tokio::test]
    async fn a_server_that_is_silent_is_not_waited_for() {
        let silent = std::future::pending::<Result<(), WriteError>>();
        let given_up = within(Duration::from_millis(10), silent).await;
        assert!(matches!(given_up, Err(WriteError::Stuck(_))), "{given_up:?}");
        assert!(within(ANSWER, async { Ok::<_, DbErr>(7) }).await.is_ok_and(|seven| seven == 7));
    }
}
