//! The schema on a real server: applied, taken back, applied again, by the program that operators run.

use std::process::Output;

use anyhow::{Result, ensure};
use tidings_harness::node;
use tidings_harness::postgres::{Database, Postgres};

const MIGRATIONS: usize = 7;
const TABLES: &[&str] = &[
    "dead_letters",
    "epochs_opened",
    "events",
    "members",
    "message_search",
    "message_versions",
    "messages",
    "messages_archive",
    "partitions",
    "presence",
    "reaction_counts",
    "reactions",
    "replicas",
    "retention_progress",
    "room_epochs",
    "rooms",
    "search_progress",
    "search_slices",
    "users",
];

async fn run(database: &Database, arguments: &[&str]) -> Result<Output> {
    let program = node::program("tidings-migrations")?;
    let mut command = tokio::process::Command::new(program);
    Ok(command.args(arguments).args(["--database-url", database.url()]).output().await?)
}

/// Runs the program and returns what it printed.
async fn migrations(database: &Database, arguments: &[&str]) -> Result<String> {
    let output = run(database, arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn tables(database: &Database) -> Result<Vec<String>> {
    let rows = database
        .query(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' \
             AND tablename <> 'seaql_migrations' ORDER BY 1",
        )
        .await?;
    Ok(rows.into_iter().flatten().collect())
}

/// The whole schema as PostgreSQL tells it: columns with types, defaults and collations, constraints, indexes.
async fn schema(database: &Database) -> Result<Vec<Vec<String>>> {
    database
        .query(
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || \
               coalesce(column_default, '') || ' ' || coalesce(collation_name, '') \
             FROM information_schema.columns WHERE table_schema = 'public' \
             UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
               WHERE connamespace = 'public'::regnamespace \
             UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        )
        .await
}

#[tokio::test]
async fn the_schema_is_applied_taken_back_without_a_trace_and_applied_again() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;

    let applied = migrations(&database, &["up"]).await?;
    assert_eq!(applied.lines().filter(|line| line.ends_with(": applied")).count(), MIGRATIONS, "{applied}");
    assert_eq!(tables(&database).await?, TABLES);
    let first = schema(&database).await?;

    let name = database.value("SELECT current_database()").await?;
    let taken_back = migrations(&database, &["down", "--all", &name]).await?;
    assert_eq!(
        taken_back.lines().filter(|line| line.ends_with(": taken back")).count(),
        MIGRATIONS,
        "{taken_back}"
    );
    assert!(tables(&database).await?.is_empty());
    assert_eq!(migrations(&database, &["status"]).await?.matches(": pending").count(), MIGRATIONS);

    migrations(&database, &["up"]).await?;
    assert_eq!(schema(&database).await?, first);
    Ok(())
}

#[tokio::test]
async fn applying_what_is_applied_changes_nothing() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    migrations(&database, &["up"]).await?;
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    assert_eq!(migrations(&database, &["up"]).await?, "nothing to do\n");
    assert_eq!(database.value("SELECT count(*) FROM users").await?, "1");
    assert_eq!(database.value("SELECT count(*) FROM partitions").await?, "64");
    Ok(())
}

#[tokio::test]
async fn a_version_that_is_rolled_back_leaves_the_schema_of_the_later_one_as_it_is() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    migrations(&database, &["up"]).await?;
    database.query("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)").await?;
    let before = schema(&database).await?;
    assert_eq!(migrations(&database, &["up"]).await?, "nothing to do\n");
    let status = migrations(&database, &["status"]).await?;
    assert!(
        status.ends_with("m9999_later: applied\n") && status.lines().count() == MIGRATIONS + 1,
        "{status}"
    );
    let refused = run(&database, &["down", "--steps", "1"]).await?;
    let told = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && told.contains("m9999_later"), "{told}");
    assert_eq!(schema(&database).await?, before);
    // One that lacks what this version needs is not taken for it.
    database.query("DELETE FROM seaql_migrations WHERE version LIKE 'm0007%'").await?;
    let refused = run(&database, &["up"]).await?;
    let told = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && told.contains("m0007"), "{told}");
    Ok(())
}

#[tokio::test]
async fn jobs_started_at_once_take_turns() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let (one, other) = tokio::join!(migrations(&database, &["up"]), migrations(&database, &["up"]));
    let mut printed = [one?, other?];
    printed.sort();
    assert_eq!(printed[0].lines().count(), MIGRATIONS, "{printed:?}");
    assert_eq!(printed[1], "nothing to do\n");
    Ok(())
}

#[tokio::test]
async fn starting_anew_drops_the_data() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    migrations(&database, &["up"]).await?;
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    let name = database.value("SELECT current_database()").await?;
    for (arguments, told) in
        [(vec!["fresh"], "--drop-everything"), (vec!["fresh", "--drop-everything", "other"], &*name)]
    {
        let refused = run(&database, &arguments).await?;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && error.contains(told), "{arguments:?}: {error}");
        assert_eq!(database.value("SELECT count(*) FROM users").await?, "1", "{arguments:?}");
    }
    migrations(&database, &["fresh", "--drop-everything", &name]).await?;
    assert_eq!(tables(&database).await?, TABLES);
    assert_eq!(database.value("SELECT count(*) FROM users").await?, "0");
    Ok(())
}

#[tokio::test]
async fn taking_back_wants_a_number_or_the_name_of_the_database() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    migrations(&database, &["up"]).await?;
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    let name = database.value("SELECT current_database()").await?;
    for (arguments, told) in [
        (vec!["down"], "--steps"),
        (vec!["down"], "--all"),
        (vec!["down", "--all"], "DATABASE_NAME"),
        (vec!["down", "--all", "other"], &*name),
        (vec!["down", "--steps", "1", "--all", &name], "cannot be used with"),
    ] {
        let refused = run(&database, &arguments).await?;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && error.contains(told), "{arguments:?}: {error}");
        ensure!(!migrations(&database, &["status"]).await?.contains("pending"), "{arguments:?}");
    }
    migrations(&database, &["down", "--steps", "1"]).await?;
    assert_eq!(migrations(&database, &["status"]).await?.matches(": pending").count(), 1);
    assert_eq!(database.value("SELECT count(*) FROM users").await?, "1");
    Ok(())
}

#[tokio::test]
async fn the_constraints_stand_guard_over_what_must_be_once() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    migrations(&database, &["up"]).await?;
    database
        .query(
            "INSERT INTO users (id) VALUES ('alice'); \
             INSERT INTO rooms (id, partition, kind, created_by, direct_key) \
               VALUES ('r', 0, 'direct', 'alice', 'alice-bob'); \
             INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
               VALUES ('r', 1, '00000000-0000-7000-8000-000000000001', 'alice', 'c', 'text', 'hi', now(), 1)",
        )
        .await?;
    let message = |seq: i64, id: i64, client_id: &str| {
        format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             VALUES ('r', {seq}, '00000000-0000-7000-8000-{id:012}', 'alice', '{client_id}', 'text', 'x', now(), 1)"
        )
    };
    let room = |id: &str, kind: &str, key: &str| {
        format!(
            "INSERT INTO rooms (id, partition, kind, created_by, direct_key) \
             VALUES ('{id}', 0, '{kind}', 'alice', '{key}')"
        )
    };
    for refused in [
        message(1, 2, "d"),
        message(2, 1, "d"),
        message(2, 2, "c"),
        room("other", "direct", "alice-bob"),
        room("r", "direct", "alice-carol"),
        room("other", "group", "alice-carol"),
    ] {
        assert!(database.query(&refused).await.is_err(), "{refused}");
    }
    database.query(&message(2, 2, "d")).await?;
    // What is read again is put aside once; the same place in another epoch is another record.
    let letter = |epoch: i64| {
        format!(
            "INSERT INTO dead_letters (partition, epoch, ingest_id, record, reason) \
             VALUES (3, {epoch}, '17-0', '', 'r')"
        )
    };
    database.query(&letter(1)).await?;
    assert!(database.query(&letter(1)).await.is_err());
    database.query(&letter(2)).await?;
    Ok(())
}

#[tokio::test]
async fn without_a_database_the_program_says_what_is_missing() -> Result<()> {
    let program = node::program("tidings-migrations")?;
    let output = tokio::process::Command::new(program).arg("up").env_remove("DATABASE_URL").output().await?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("DATABASE_URL"));
    Ok(())
}
