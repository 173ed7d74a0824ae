//! A backup is made while everything runs and restored after everything is lost: its contents are served, numbering
//! continues, and clients with newer cursors get a gap. Uses the shipped roles: the services may read and write rows,
//! migrations run as the owner, and the backup role may replicate.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::{Begin, Client, Cursor, Listener, Nodes, ServerFrame, Stack, frames::Ack, stack};
use tokio::process::Command;

use crate::restored_postgres::after_restore;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_DELAY: Duration = Duration::from_millis(250);
const OWNER_ROLE: &str = "tidings_owner";
const SERVICE_ROLE: &str = "tidings_service";
const BACKUP_ROLE: &str = "tidings_backup";

/// The folder with the scripts and roles.
fn scripts_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres")
}

/// Creates the two roles if they are missing, and grants their rights in this database.
async fn create_roles(database: &Database) -> Result<()> {
    database.query(&std::fs::read_to_string(scripts_folder().join("roles.sql"))?).await.map(drop)
}

fn role_url(database: &Database, role: &str) -> String {
    database.url().replace("//tidings@", &format!("//{role}@"))
}

/// Runs a shipped script for this database with a role; returns whether it succeeded, and its output.
async fn run_script(
    database: &Database,
    role: &str,
    name: &str,
    arguments: &[&Path],
) -> Result<(bool, String)> {
    let folder = scripts_folder();
    let programs = std::env::var("TIDINGS_POSTGRES_BIN").unwrap_or("/usr/lib/postgresql/15/bin".to_owned());
    let path = format!("{programs}:{}", std::env::var("PATH")?);
    let mut command = Command::new(folder.join(name));
    command.args(arguments).env("PATH", path).env("DATABASE_URL", role_url(database, role));
    let done = command.output().await?;
    let output = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    Ok((done.status.success(), output.into_owned()))
}

/// Connects; tries again while the node reconnects to its servers.
async fn connect_with_retries(stack: &Stack, user: &str) -> Result<Client> {
    for _ in 0..120 {
        match stack.connect(user).await {
            Err(error) if error.code() == "unavailable" => tokio::time::sleep(RETRY_DELAY).await,
            connected => return Ok(connected?),
        }
    }
    anyhow::bail!("{user} cannot connect")
}

/// Sends the numbers of a range as messages, each until it is stored; returns the last answer.
async fn send_numbers(client: &Client, room: &str, numbers: RangeInclusive<u64>) -> Result<Ack> {
    let mut last = None;
    for number in numbers {
        let text = number.to_string();
        let mut tries = 0;
        last = Some(loop {
            tries += 1;
            match client.send_as(room, &text, &text).await {
                Err(error) if error.code() == "unavailable" && tries < 120 => {
                    tokio::time::sleep(RETRY_DELAY).await
                }
                answered => break answered?,
            }
        });
    }
    last.context("the range is empty")
}

async fn history_contents(stack: &Stack, room: &str) -> Result<Vec<String>> {
    let page = stack.http("ann").messages(room, "limit=200").await?.expect(200).body;
    let messages = page["messages"].as_array().context("no messages")?;
    Ok(messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Destroys the data of PostgreSQL and of Redis, and restores the backup.
async fn lose_and_restore(stack: &Stack, database: &Database, backup: &Path) -> Result<()> {
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        node.kill();
    }
    let server = database.server();
    let (restored, output) = run_script(database, OWNER_ROLE, "restore.sh", &[backup, server.data()]).await?;
    ensure!(!restored && output.contains("is not empty"), "it restores over existing data: {output}");
    server.lose_data().await?;
    ensure_damaged_backup_is_refused(database, backup).await?;
    let (restored, output) = run_script(database, OWNER_ROLE, "restore.sh", &[backup, server.data()]).await?;
    ensure!(restored && !output.contains("NOT finished"), "{output}");
    server.start_with_files().await?;
    let (recovered, output) =
        run_script(database, OWNER_ROLE, "restore.sh", &[Path::new("--recovered")]).await?;
    ensure!(recovered && !output.contains("NOT finished"), "{output}");
    stack::migrate(&role_url(database, OWNER_ROLE)).await?;
    let writes =
        format!("SELECT has_table_privilege('{SERVICE_ROLE}', 'seaql_migrations', 'INSERT, UPDATE, DELETE')");
    ensure!(database.value(&writes).await? == "f", "the services may write to the table of migrations");
    stack.redis().restart_empty().await?;
    for node in stack.persistence_nodes().iter().chain(stack.gateways()) {
        node.restart().await?;
    }
    Ok(())
}

/// Restores a backup in which one byte has changed. This must fail. Then repairs the backup.
async fn ensure_damaged_backup_is_refused(database: &Database, backup: &Path) -> Result<()> {
    let (file, into) = (backup.join("global/pg_control"), backup.with_extension("damaged"));
    let good = std::fs::read(&file)?;
    let mut bad = good.clone();
    bad[0] ^= 1;
    std::fs::write(&file, bad)?;
    let (restored, output) = run_script(database, OWNER_ROLE, "restore.sh", &[backup, &into]).await?;
    ensure!(!restored && output.contains("NOT finished: empty "), "it restores a damaged backup: {output}");
    std::fs::write(&file, good)?;
    Ok(())
}

/// The job for a PostgreSQL that went back changes nothing without need, nor without the rights of the owner.
async fn ensure_only_the_owner_opens_epochs(stack: &Stack, database: &Database) -> Result<()> {
    let newest = "SELECT max(epoch) FROM epochs_opened";
    let before = database.value(newest).await?;
    let owner = role_url(database, OWNER_ROLE);
    ensure!(after_restore(stack, &owner, &[]).await?.status.code() == Some(3));
    let refused = after_restore(stack, &role_url(database, SERVICE_ROLE), &["--force"]).await?;
    ensure!(!refused.status.success() && database.value(newest).await? == before, "{refused:?}");
    let forced = after_restore(stack, &owner, &["--force"]).await?;
    ensure!(forced.status.success() && database.value(newest).await? != before, "{forced:?}");
    let ann = connect_with_retries(stack, "ann").await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    send_numbers(&ann, &room, 1..=2).await.map(drop)
}

#[tokio::test]
async fn backup_is_restored_and_newer_clients_get_a_gap() -> Result<()> {
    let database = Arc::new(Postgres::start().await?).database().await?;
    create_roles(&database).await?;
    database.query(&format!("CREATE ROLE {BACKUP_ROLE} LOGIN REPLICATION")).await?;
    stack::migrate(&role_url(&database, OWNER_ROLE)).await?;
    let stack =
        Stack::builder().persistence_env("DATABASE_URL", role_url(&database, SERVICE_ROLE)).start().await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let connected = "SELECT string_agg(DISTINCT usename, ' ') FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
    ensure!(database.value(connected).await? == SERVICE_ROLE, "the services have another role");
    let ann = connect_with_retries(&stack, "ann").await?;
    let first = send_numbers(&ann, &room, 1..=5).await?;
    let backup: PathBuf = stack.folder().join("tidings.backup");
    let (made, output) = run_script(&database, BACKUP_ROLE, "backup.sh", &[&backup]).await?;
    ensure!(made, "{output}");
    let (again, output) = run_script(&database, BACKUP_ROLE, "backup.sh", &[&backup]).await?;
    ensure!(!again && output.contains("is there already"), "{output}");

    // More messages follow, some of them in an epoch that the backup does not know.
    send_numbers(&ann, &room, 6..=7).await?;
    stack.redis().restart_empty().await?;
    let ann = connect_with_retries(&stack, "ann").await?;
    let last = send_numbers(&ann, &room, 8..=10).await?;
    ensure!(last.epoch != first.epoch && last.seq == 10, "{last:?}");

    lose_and_restore(&stack, &database, &backup).await?;
    ensure!(history_contents(&stack, &room).await? == ["1", "2", "3", "4", "5"]);

    // A client with a cursor above the restored head gets a gap, and then all later events.
    let ann = connect_with_retries(&stack, "ann").await?;
    let again = send_numbers(&ann, &room, 11..=17).await?;
    ensure!(again.seq == 12, "{again:?}");
    ensure!(again.epoch != last.epoch && again.epoch != first.epoch, "epoch {} was used before", again.epoch);
    let ben = connect_with_retries(&stack, "ben").await?;
    ben.join_after(&room, &Cursor { epoch: last.epoch.clone(), seq: last.seq }).await?;
    let frame = ben.next_of_log(WAIT_TIMEOUT).await?;
    let ServerFrame::Gap(gap) = frame else { anyhow::bail!("no gap, but {frame:?}") };
    ensure!(gap.after <= 5 && gap.head.epoch == again.epoch, "{gap:?}");
    // A client with a cursor below the restored head gets all later events.
    let ben = Listener::new("ben", Arc::new(Nodes::of(&stack)), 0, None);
    ben.online();
    ben.join(&room, Begin::At(Cursor { epoch: first.epoch, seq: 3 }), Arc::default());
    let begun = Instant::now();
    while !ben.is_at(&room, 12) {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "ben stays at {:?}", ben.cursor(&room));
        tokio::time::sleep(RETRY_DELAY).await;
    }
    let record = ben.record(&room).context("ben has joined")?;
    let texts: Vec<String> =
        record.lock().unwrap().messages().map(|message| message.text.to_string()).collect();
    ensure!(texts == ["4", "5", "11", "12", "13", "14", "15", "16", "17"], "{texts:?}");
    ensure!(history_contents(&stack, &room).await?.len() == 12);

    ensure_only_the_owner_opens_epochs(&stack, &database).await?;
    // If the data was recovered by other means, the script only moves the counter of epochs.
    let counter = "SELECT last_value FROM epochs_opened_epoch_seq";
    database.query("SELECT setval('epochs_opened_epoch_seq', 7)").await?;
    let empty = database.server().database().await?;
    let (moved, output) = run_script(&empty, OWNER_ROLE, "restore.sh", &[Path::new("--recovered")]).await?;
    ensure!(!moved && output.contains("NOT finished: run "), "it succeeds without restored tables: {output}");
    let (moved, output) =
        run_script(&database, OWNER_ROLE, "restore.sh", &[Path::new("--recovered")]).await?;
    ensure!(moved, "{output}");
    let moved_to: u64 = database.value(counter).await?.parse()?;
    ensure!(moved_to >= again.epoch.parse()?, "{moved_to}");
    Ok(())
}
