//! Locks of PostgreSQL that a test holds until it releases them, so that a process stops at a named statement or
//! COMMIT.

use anyhow::Result;
use tidings_harness::Stack;
use tokio::process::{Child, Command};

/// Key of the advisory lock for which commits wait: see [`make_commits_wait`].
const COMMIT_LOCK_KEY: u32 = 17;

/// A transaction of the test that holds a lock.
pub struct HeldLock(Child);

impl HeldLock {
    /// Locks the row of a partition. Returns when the lock is held.
    pub async fn of_partition(stack: &Stack, partition: u16) -> Result<HeldLock> {
        Self::by_statement(stack, &format!("SELECT FROM partitions WHERE partition = {partition} FOR UPDATE"))
            .await
    }

    /// Runs a statement in a transaction that stays open, so that its locks are held. Returns when they are held.
    pub async fn by_statement(stack: &Stack, statement: &str) -> Result<HeldLock> {
        let sql = format!("BEGIN; {statement}; SELECT pg_sleep(300)");
        let child = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", &sql, stack.database().url()])
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        stack.database().until_asleep().await?;
        Ok(HeldLock(child))
    }

    /// Holds the lock for which commits wait: see [`make_commits_wait`].
    pub async fn of_commits(stack: &Stack) -> Result<HeldLock> {
        Self::by_statement(stack, &format!("SELECT pg_advisory_xact_lock({COMMIT_LOCK_KEY})")).await
    }

    /// Releases the lock.
    pub async fn release(mut self, stack: &Stack) -> Result<()> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE wait_event = 'PgSleep' AND datname = current_database()";
        stack.database().query(sql).await?;
        self.0.wait().await?;
        Ok(())
    }
}

/// Creates a trigger: a transaction that inserts a row into `table` for which the condition `such` is true waits at its
/// COMMIT, without a time limit, while the test holds [`HeldLock::of_commits`]. Then PostgreSQL commits the
/// transaction, even if its client is paused or has ended.
pub async fn make_commits_wait(stack: &Stack, table: &str, such: &str) -> Result<()> {
    let trigger = format!(
        "CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN \
           PERFORM pg_advisory_xact_lock_shared({COMMIT_LOCK_KEY}); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED \
           FOR EACH ROW WHEN ({such}) EXECUTE FUNCTION wait_at_commit()"
    );
    stack.database().query(&trigger).await.map(drop)
}

/// Waits until a statement whose text contains `part` waits for a lock.
pub async fn until_waiting(stack: &Stack, part: &str) -> Result<()> {
    let sql = format!(
        "SELECT (count(*) > 0)::text FROM pg_stat_activity \
         WHERE wait_event_type = 'Lock' AND query LIKE '%{part}%' AND datname = current_database()"
    );
    stack.database().until(&sql, "true").await
}

/// Whether a transaction is stopped by [`make_commits_wait`].
pub async fn is_commit_waiting(stack: &Stack) -> Result<bool> {
    let sql = format!(
        "SELECT (count(*) > 0)::text FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE l.locktype = 'advisory' AND l.objid = {COMMIT_LOCK_KEY} AND NOT l.granted \
           AND d.datname = current_database()"
    );
    Ok(stack.database().value(&sql).await? == "true")
}

/// Ends all connections of persistence, and waits until they are gone. Their transactions are rolled back, so a paused
/// node holds no lock.
pub async fn end_connections(stack: &Stack) -> Result<()> {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name LIKE 'tidings-persistence%' AND datname = current_database()";
    stack.database().until(sql, "0").await
}
