//! Migrations delay the statements of a running service only briefly, and client ids stay unique.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::postgres::Postgres;

use crate::migrations::{MIGRATION_COUNT, run_migrations};

#[tokio::test]
async fn migration_waiting_for_lock_delays_others_briefly() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 8).to_string()]).await?;
    // A long read of a table that the next migration changes.
    let sql = "BEGIN; LOCK TABLE search_progress IN ACCESS SHARE MODE; SELECT pg_sleep(12); COMMIT";
    let mut reader = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", sql, database.url()])
        .kill_on_drop(true)
        .spawn()?;
    database.until_asleep().await?;
    let upgrade = run_migrations(&database, &["up"]);
    let others = async {
        database.until_blocked().await?;
        let mut longest = Duration::ZERO;
        while reader.try_wait()?.is_none() {
            let begun = Instant::now();
            database.query("INSERT INTO search_progress VALUES ('r', 0) ON CONFLICT DO NOTHING").await?;
            longest = longest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(longest)
    };
    let (upgraded, longest) = tokio::try_join!(upgrade, others)?;
    ensure!(longest < Duration::from_secs(5), "a statement waited {longest:?}");
    ensure!(upgraded.contains("m0009_search_blocks: applied"), "{upgraded}");
    ensure!(run_migrations(&database, &["status"]).await?.matches(": applied").count() == MIGRATION_COUNT);
    Ok(())
}

#[tokio::test]
async fn outdated_blocks_are_indexed_beside_writes() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 28).to_string()]).await?;
    let write = |room: &str, count: usize| {
        format!(
            "INSERT INTO search_blocks SELECT '{room}', n, now(), now(), decode(repeat('00', 8 + n % 2 * 4), 'hex') \
             FROM generate_series(1, {count}) n"
        )
    };
    database.query(&write("old", 10_000)).await?;
    let mut upgrade = std::pin::pin!(run_migrations(&database, &["up"]));
    let mut rooms = 0;
    let upgraded = loop {
        rooms += 1;
        let rows = write(&format!("r{rooms}"), 10);
        tokio::select! {
            upgraded = &mut upgrade => break upgraded?,
            written = database.query(&rows) => drop(written?),
        }
    };
    ensure!(upgraded.contains("m0030_search_folding: applied"), "{upgraded}");
    let counts = "SET enable_seqscan = off; \
                  SELECT (SELECT count(*) FROM search_blocks WHERE octet_length(signature) % 8 = 0) = \
                    (SELECT count(*) FROM search_blocks WHERE octet_length(signature) = 8)";
    assert_eq!(database.query(counts).await?, [["t"]]);
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'search_blocks_outdated'::regclass";
    assert_eq!(database.value(valid).await?, "t");
    // The previous version indexes again.
    run_migrations(&database, &["down", "--steps", "1"]).await?;
    assert_eq!(database.value("SELECT count(*) FROM search_blocks").await?, "0");
    ensure!(run_migrations(&database, &["up"]).await?.contains("m0030_search_folding: applied"));
    Ok(())
}

#[tokio::test]
async fn client_ids_stay_unique_when_their_index_is_replaced() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let message = |seq: u32| {
        format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             VALUES ('r', {seq}, gen_random_uuid(), 'alice', 'c', 'text', 'x', now(), {seq})"
        )
    };
    let ensure_unique = async || -> Result<()> {
        let again = database.query(&message(2)).await;
        ensure!(again.is_err_and(|error| format!("{error:#}").contains("duplicate key")), "stored twice");
        Ok(())
    };
    let build = "CREATE UNIQUE INDEX messages_by_sender ON messages (sender_id, room_id, client_id)";
    run_migrations(&database, &["up"]).await?;
    database.query(&message(1)).await?;
    ensure_unique().await?;
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 9).to_string()]).await?;
    ensure_unique().await?;
    // The states after a failed index build, and after an upgrade that stopped before its last step.
    for state in
        ["UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_by_sender'::regclass", ""]
    {
        database.query(&format!("{build}; {state}")).await?;
        ensure!(run_migrations(&database, &["up"]).await?.contains("m0010_messages_by_sender: applied"));
        ensure_unique().await?;
        let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'messages_by_sender'::regclass";
        assert_eq!(database.value(valid).await?, "t");
        run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 9).to_string()]).await?;
        ensure_unique().await?;
    }
    Ok(())
}
