//! The schema on a real server, applied and reverted by the program that operators run.
//! Long because each migration that changes stored rows has its test here.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::{node, ports};

pub const MIGRATION_COUNT: usize = 29;
const TABLES: &[&str] = &[
    "audit_log",
    "batches",
    "daily_usage",
    "dead_letters",
    "epochs_opened",
    "events",
    "feed",
    "file_parts",
    "files",
    "members",
    "message_versions",
    "messages",
    "messages_archive",
    "partitions",
    "presence",
    "public_rooms",
    "push_cursor",
    "push_devices",
    "push_mutes",
    "push_pending",
    "push_tickets",
    "push_told",
    "reaction_counts",
    "reactions",
    "rejoin_roles",
    "replicas",
    "retention_progress",
    "room_epochs",
    "rooms",
    "search_blocks",
    "search_progress",
    "users",
    "webhook_deliveries",
    "webhooks",
];

async fn run_program(database: &Database, arguments: &[&str]) -> Result<Output> {
    let program = node::program("tidings-migrations")?;
    let mut command = tokio::process::Command::new(program);
    Ok(command.args(arguments).args(["--database-url", database.url()]).output().await?)
}

pub async fn run_migrations(database: &Database, arguments: &[&str]) -> Result<String> {
    let output = run_program(database, arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn closed_port_fails_every_command_within_seconds() -> Result<()> {
    let url = format!("postgres://tidings:hunter2@127.0.0.1:{}/tidings", ports::free()?);
    let commands: [(&str, &[&str]); 6] = [
        ("tidings-migrations", &["status"]),
        ("tidings-migrations", &["up"]),
        ("tidings-migrations", &["down", "--steps", "1"]),
        ("tidings-migrations", &["fresh", "--drop-everything", "tidings"]),
        ("tidings-persistence", &["migrate", "status"]),
        ("tidings-persistence", &["export"]),
    ];
    for (program, arguments) in commands {
        let begun = Instant::now();
        let mut command = tokio::process::Command::new(node::program(program)?);
        let output = command.args(arguments).args(["--database-url", &url]).output().await?;
        let stderr = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success() && stderr.contains("refused"), "{arguments:?}: {stderr}");
        ensure!(stderr.contains("127.0.0.1:") && !stderr.contains("hunter2"), "{arguments:?}: {stderr}");
        // The command needs 1.5 to 2 s; the rest is for a busy machine.
        ensure!(begun.elapsed() < Duration::from_secs(5), "{arguments:?}: {:?}", begun.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn missing_database_is_named_with_its_error_code() -> Result<()> {
    let postgres = Postgres::shared().await?;
    let url = postgres.url_of("no_such_database");
    let mut command = tokio::process::Command::new(node::program("tidings-migrations")?);
    let output = command.args(["status", "--database-url", &url]).output().await?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(stderr.contains("SQLSTATE 3D000 (invalid_catalog_name)"), "{stderr}");
    Ok(())
}

async fn table_names(database: &Database) -> Result<Vec<String>> {
    let of_ours = "schemaname = 'public' AND tablename <> 'seaql_migrations'";
    let rows = database.query(&format!("SELECT tablename FROM pg_tables WHERE {of_ours} ORDER BY 1")).await?;
    Ok(rows.into_iter().flatten().collect())
}

/// The whole schema as PostgreSQL reports it: columns with types, defaults and collations, constraints, indexes.
async fn describe_schema(database: &Database) -> Result<Vec<Vec<String>>> {
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
async fn schema_is_applied_reverted_and_applied_again() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;

    let applied = run_migrations(&database, &["up"]).await?;
    let count = applied.lines().filter(|line| line.ends_with(": applied")).count();
    assert_eq!(count, MIGRATION_COUNT, "{applied}");
    assert_eq!(table_names(&database).await?, TABLES);
    let first = describe_schema(&database).await?;

    let name = database.value("SELECT current_database()").await?;
    let reverted = run_migrations(&database, &["down", "--all", &name]).await?;
    assert_eq!(
        reverted.lines().filter(|line| line.ends_with(": taken back")).count(),
        MIGRATION_COUNT,
        "{reverted}"
    );
    assert!(table_names(&database).await?.is_empty());
    assert_eq!(run_migrations(&database, &["status"]).await?.matches(": pending").count(), MIGRATION_COUNT);

    run_migrations(&database, &["up"]).await?;
    assert_eq!(describe_schema(&database).await?, first);
    Ok(())
}

#[tokio::test]
async fn public_rooms_are_listed_by_activity_after_an_upgrade() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 7).to_string()]).await?;
    let room = |id: &str, kind: &str, day: u32| {
        format!(
            "INSERT INTO rooms (id, partition, kind, created_by, updated_at) VALUES ('{id}', 0, '{kind}', 'alice', '2026-01-0{day}Z')"
        )
    };
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    database.query(&[room("old", "public", 1), room("hidden", "private", 2)].join(";")).await?;
    run_migrations(&database, &["up"]).await?;
    let listed = "SELECT room_id FROM public_rooms ORDER BY updated_at DESC, room_id";
    assert_eq!(database.query(listed).await?, [["old"]]);
    database.query(&[room("new", "public", 3), room("other", "private", 4)].join(";")).await?;
    assert_eq!(database.query(listed).await?, [["new"], ["old"]]);
    database.query("UPDATE rooms SET updated_at = '2026-01-05Z'; UPDATE rooms SET name = 'x'").await?;
    let moved = "SELECT count(*) FROM public_rooms WHERE updated_at = '2026-01-05Z'";
    assert_eq!(database.value(moved).await?, "2");
    Ok(())
}

#[tokio::test]
async fn owners_of_direct_rooms_become_members() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 24).to_string()]).await?;
    database
        .query(
            "INSERT INTO users (id) VALUES ('alice'), ('bob'); \
             INSERT INTO rooms (id, partition, kind, created_by) SELECT kind || n, 0, kind, 'alice' \
               FROM generate_series(1, 1200) n, unnest('{direct,private}'::text[]) kind; \
             INSERT INTO members (room_id, user_id, role) SELECT id, 'alice', 'owner' FROM rooms; \
             INSERT INTO members (room_id, user_id, role) SELECT id, 'bob', 'member' FROM rooms",
        )
        .await?;
    run_migrations(&database, &["up"]).await?;
    // A node of the previous version creates a room.
    database
        .query(
            "INSERT INTO rooms (id, partition, kind, created_by) VALUES ('late', 0, 'direct', 'alice'); \
             INSERT INTO members (room_id, user_id, role) VALUES ('late', 'alice', 'owner')",
        )
        .await?;
    let roles =
        "SELECT kind, role, count(*) FROM members JOIN rooms ON id = room_id GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(
        database.query(roles).await?,
        [["direct", "member", "2401"], ["private", "member", "1200"], ["private", "owner", "1200"]]
    );
    Ok(())
}

#[tokio::test]
async fn stored_emoji_get_their_one_form() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 26).to_string()]).await?;
    let cases: Vec<[String; 2]> = serde_json::from_str(include_str!("../../fixtures/emoji.json"))?;
    let cases: Vec<[String; 2]> = cases.into_iter().filter(|[given, _]| !given.is_empty()).collect();
    for (seq, [given, _]) in cases.iter().enumerate() {
        database
            .query(&format!("INSERT INTO reactions VALUES ('r', {seq}, '{given}', 'alice', now(), {seq})"))
            .await?;
    }
    // One user gave an emoji in three forms, another in one of them.
    database
        .query(
            "INSERT INTO reactions SELECT 'r', 100, '👍' || form, 'alice', now(), 100 \
               FROM unnest(ARRAY['', U&'\\FE0E', U&'\\FE0F']) form; \
             INSERT INTO reactions VALUES ('r', 100, U&'👍\\FE0F', 'bob', now(), 101); \
             INSERT INTO reactions VALUES ('r', 200, U&'👍\\FE0F', 'bob', now(), 201); \
             DELETE FROM reaction_counts WHERE seq = 200",
        )
        .await?;
    run_migrations(&database, &["up"]).await?;
    for (seq, [given, expected]) in cases.iter().enumerate() {
        let stored = database.value(&format!("SELECT emoji FROM reactions WHERE seq = {seq}")).await?;
        assert_eq!(&stored, expected, "{given:?}");
    }
    let counts = "SELECT emoji, count FROM reaction_counts WHERE seq = 100";
    assert_eq!(database.query(counts).await?, [["👍", "2"]]);
    let users = "SELECT user_id FROM reactions WHERE seq = 100 ORDER BY user_id";
    assert_eq!(database.query(users).await?, [["alice"], ["bob"]]);
    let uncounted = "SELECT count(*) FROM reaction_counts WHERE seq = 200";
    assert_eq!(database.value(uncounted).await?, "0", "reactions of a deleted message stay hidden");
    // Nodes of the previous version still write other forms.
    database
        .query("INSERT INTO reactions VALUES ('r', 100, U&'👍\\FE0E', 'carol', now(), 102) ON CONFLICT DO NOTHING")
        .await?;
    assert_eq!(database.query(counts).await?, [["👍", "3"]]);
    Ok(())
}

#[tokio::test]
async fn signatures_stay_uncompressed_and_older_version_indexes_again() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    database
        .query(
            "INSERT INTO search_progress VALUES ('r', 7); INSERT INTO search_blocks \
             SELECT 'r', n, now(), now(), decode(repeat('00', 3840), 'hex') FROM generate_series(1, 100) n",
        )
        .await?;
    let stored =
        "SELECT min(pg_column_size(signature)), pg_relation_size('search_blocks') / 8192 FROM search_blocks";
    assert_eq!(database.query(stored).await?, [["3844", "50"]], "a page must hold two of the longest");
    run_migrations(&database, &["down", "--steps", &(MIGRATION_COUNT - 8).to_string()]).await?;
    assert_eq!(database.value("SELECT count(*) FROM search_progress").await?, "0");
    let old = "SELECT (SELECT count(*) FROM search_slices) + (SELECT count(*) FROM message_search)";
    assert_eq!(database.value(old).await?, "0");
    run_migrations(&database, &["down", "--steps", "2"]).await?;
    run_migrations(&database, &["up"]).await?;
    Ok(())
}

#[tokio::test]
async fn heads_and_progress_of_rooms_are_updated_in_place() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    database
        .query(
            "INSERT INTO users (id) VALUES ('alice'); \
             INSERT INTO rooms (id, partition, kind, created_by) VALUES ('r', 0, 'private', 'alice'); \
             INSERT INTO search_progress VALUES ('r', 0)",
        )
        .await?;
    for (table, update) in [
        ("rooms", "head_seq = head_seq + 1, updated_at = clock_timestamp()"),
        ("search_progress", "indexed_seq = indexed_seq + 1"),
        ("partitions", "last_id = '1-1'"),
    ] {
        let in_place = format!(
            "UPDATE {table} SET {update}; SELECT pg_stat_get_xact_tuples_updated('{table}'::regclass) = \
               pg_stat_get_xact_tuples_hot_updated('{table}'::regclass)"
        );
        assert_eq!(database.query(&in_place).await?, [["t"]], "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn repeated_migration_changes_nothing() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    assert_eq!(run_migrations(&database, &["up"]).await?, "nothing to do\n");
    assert_eq!(database.value("SELECT count(*) FROM users").await?, "1");
    assert_eq!(database.value("SELECT count(*) FROM partitions").await?, "64");
    Ok(())
}

#[tokio::test]
async fn older_version_leaves_later_schema_unchanged() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    database.query("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)").await?;
    let before = describe_schema(&database).await?;
    assert_eq!(run_migrations(&database, &["up"]).await?, "nothing to do\n");
    let status = run_migrations(&database, &["status"]).await?;
    assert!(
        status.ends_with("m9999_later: applied\n") && status.lines().count() == MIGRATION_COUNT + 1,
        "{status}"
    );
    let refused = run_program(&database, &["down", "--steps", "1"]).await?;
    let error = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && error.contains("m9999_later"), "{error}");
    assert_eq!(describe_schema(&database).await?, before);
    // A schema that lacks a migration of this version is refused.
    database.query("DELETE FROM seaql_migrations WHERE version LIKE 'm0007%'").await?;
    let refused = run_program(&database, &["up"]).await?;
    let error = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && error.contains("m0007"), "{error}");
    Ok(())
}

#[tokio::test]
async fn concurrent_migrations_run_one_after_the_other() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let (one, other) = tokio::join!(run_migrations(&database, &["up"]), run_migrations(&database, &["up"]));
    let mut printed = [one?, other?];
    printed.sort();
    assert_eq!(printed[0].lines().count(), MIGRATION_COUNT, "{printed:?}");
    assert_eq!(printed[1], "nothing to do\n");
    Ok(())
}

#[tokio::test]
async fn fresh_requires_confirmation_and_drops_all_data() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    let name = database.value("SELECT current_database()").await?;
    for (arguments, expected) in
        [(vec!["fresh"], "--drop-everything"), (vec!["fresh", "--drop-everything", "other"], &*name)]
    {
        let refused = run_program(&database, &arguments).await?;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && error.contains(expected), "{arguments:?}: {error}");
        assert_eq!(database.value("SELECT count(*) FROM users").await?, "1", "{arguments:?}");
    }
    run_migrations(&database, &["fresh", "--drop-everything", &name]).await?;
    assert_eq!(table_names(&database).await?, TABLES);
    assert_eq!(database.value("SELECT count(*) FROM users").await?, "0");
    Ok(())
}

#[tokio::test]
async fn down_requires_steps_or_database_name() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
    database.query("INSERT INTO users (id) VALUES ('alice')").await?;
    let name = database.value("SELECT current_database()").await?;
    for (arguments, expected) in [
        (vec!["down"], "--steps"),
        (vec!["down"], "--all"),
        (vec!["down", "--all"], "DATABASE_NAME"),
        (vec!["down", "--all", "other"], &*name),
        (vec!["down", "--steps", "1", "--all", &name], "cannot be used with"),
    ] {
        let refused = run_program(&database, &arguments).await?;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && error.contains(expected), "{arguments:?}: {error}");
        ensure!(!run_migrations(&database, &["status"]).await?.contains("pending"), "{arguments:?}");
    }
    run_migrations(&database, &["down", "--steps", "1"]).await?;
    assert_eq!(run_migrations(&database, &["status"]).await?.matches(": pending").count(), 1);
    assert_eq!(database.value("SELECT count(*) FROM users").await?, "1");
    Ok(())
}

#[tokio::test]
async fn constraints_refuse_duplicate_rows() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    run_migrations(&database, &["up"]).await?;
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
        message(2, 2, "c"),
        room("other", "direct", "alice-bob"),
        room("r", "direct", "alice-carol"),
        room("other", "group", "alice-carol"),
    ] {
        assert!(database.query(&refused).await.is_err(), "{refused}");
    }
    database.query(&message(2, 2, "d")).await?;
    // A record that is read again is one dead letter; the same ingest id in another epoch is another record.
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
async fn missing_database_url_is_named_in_error() -> Result<()> {
    let program = node::program("tidings-migrations")?;
    let output = tokio::process::Command::new(program).arg("up").env_remove("DATABASE_URL").output().await?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("DATABASE_URL"));
    Ok(())
}
