//! A backup is made while everything runs, and brought back after everything is lost: what it holds is served, numbering
//! goes on, and clients that know more than it holds are told what became of it. All by the roles that are shipped: the
//! services have one that reads and writes rows, backup, restore and migrations that of the owner.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::{Begin, Client, Cursor, Listener, Nodes, ServerFrame, Stack, frames::Ack, stack};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(250);
const OWNER: &str = "tidings_owner";
const SERVICE: &str = "tidings_service";

/// The folder of the scripts and roles.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres")
}

/// Makes the two roles, where they are not there, and gives them their rights in this database.
async fn roles(database: &Database) -> Result<()> {
    database.query(&std::fs::read_to_string(shipped().join("roles.sql"))?).await.map(drop)
}

/// The database's address for one of the roles.
fn url(database: &Database, role: &str) -> String {
    database.url().replace("//tidings@", &format!("//{role}@"))
}

/// Runs a script that is shipped, as the owner.
async fn script(database: &Database, name: &str, file: &Path) -> Result<(bool, String)> {
    let folder = shipped();
    let programs = std::env::var("TIDINGS_POSTGRES_BIN").unwrap_or("/usr/lib/postgresql/15/bin".to_owned());
    let path = format!("{programs}:{}", std::env::var("PATH")?);
    let mut command = Command::new(folder.join(name));
    command.arg(file).env("PATH", path).env("DATABASE_URL", url(database, OWNER));
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), said.into_owned()))
}

/// Connects, and again while the node looks for what has come back.
async fn connect(stack: &Stack, user: &str) -> Result<Client> {
    for _ in 0..120 {
        match stack.connect(user).await {
            Err(error) if error.code() == "unavailable" => tokio::time::sleep(AGAIN).await,
            connected => return Ok(connected?),
        }
    }
    anyhow::bail!("{user} is never let in")
}

/// Sends what is numbered from one to the other, each until it is stored; the last answer.
async fn say(client: &Client, room: &str, numbers: RangeInclusive<u64>) -> Result<Ack> {
    let mut last = None;
    for number in numbers {
        let text = number.to_string();
        let mut tries = 0;
        last = Some(loop {
            tries += 1;
            match client.send_as(room, &text, &text).await {
                Err(error) if error.code() == "unavailable" && tries < 120 => tokio::time::sleep(AGAIN).await,
                answered => break answered?,
            }
        });
    }
    last.context("nothing was said")
}

/// The texts in the room's history.
async fn history(stack: &Stack, room: &str) -> Result<Vec<String>> {
    let page = stack.http("ann").messages(room, "limit=200").await?.expect(200).body;
    let messages = page["messages"].as_array().context("no messages")?;
    Ok(messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect())
}

/// A new database in the place of one that is lost, with nothing in it but the roles' rights.
async fn replace(database: &Database) -> Result<()> {
    let other = database.server().database().await?;
    let name = database.value("SELECT current_database()").await?;
    other.query(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    other.query(&format!("CREATE DATABASE {name}")).await?;
    roles(database).await
}

/// All is gone but the backup: the database and what Redis held.
async fn lose_and_restore(stack: &Stack, database: &Database, backup: &Path) -> Result<()> {
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        node.kill();
    }
    let (restored, said) = script(database, "restore.sh", backup).await?;
    ensure!(!restored && said.contains("restore into an empty one"), "over what is there: {said}");
    replace(database).await?;
    let (restored, said) = script(database, "restore.sh", Path::new("--recovered")).await?;
    ensure!(!restored && said.contains("NOT finished: run "), "without what it counts: {said}");
    let (restored, said) = script(database, "restore.sh", backup).await?;
    ensure!(restored && !said.contains("NOT finished"), "{said}");
    stack::migrate(&url(database, OWNER)).await?;
    let owners = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'public'";
    ensure!(database.value(owners).await? == OWNER, "the tables are not the owner's");
    let writes =
        format!("SELECT has_table_privilege('{SERVICE}', 'seaql_migrations', 'INSERT, UPDATE, DELETE')");
    ensure!(database.value(&writes).await? == "f", "the services may write which migrations are applied");
    stack.redis().restart_empty().await?;
    for node in stack.persistence_nodes().iter().chain(stack.gateways()) {
        node.restart().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_backup_made_under_way_is_brought_back_and_who_knows_more_is_told() -> Result<()> {
    let database = Arc::new(Postgres::start().await?).database().await?;
    roles(&database).await?;
    stack::migrate(&url(&database, OWNER)).await?;
    let stack = Stack::builder().persistence_env("DATABASE_URL", url(&database, SERVICE)).start().await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let connected = "SELECT string_agg(DISTINCT usename, ' ') FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
    ensure!(database.value(connected).await? == SERVICE, "the services have another role");
    let ann = connect(&stack, "ann").await?;
    let first = say(&ann, &room, 1..=5).await?;
    let backup: PathBuf = stack.folder().join("tidings.backup");
    let (made, said) = script(&database, "backup.sh", &backup).await?;
    ensure!(made, "{said}");
    let (again, said) = script(&database, "backup.sh", &backup).await?;
    ensure!(!again && said.contains("is there already"), "{said}");

    // More is said, also in an epoch that the backup has not seen.
    say(&ann, &room, 6..=7).await?;
    stack.redis().restart_empty().await?;
    let ann = connect(&stack, "ann").await?;
    let last = say(&ann, &room, 8..=10).await?;
    ensure!(last.epoch != first.epoch && last.seq == 10, "{last:?}");

    lose_and_restore(&stack, &database, &backup).await?;
    ensure!(history(&stack, &room).await? == ["1", "2", "3", "4", "5"]);

    // Who stands above what is there is taken back to it, and hears all from there.
    let ann = connect(&stack, "ann").await?;
    let again = say(&ann, &room, 11..=17).await?;
    ensure!(again.seq == 12, "{again:?}");
    ensure!(again.epoch != last.epoch && again.epoch != first.epoch, "{} was given out before", again.epoch);
    let ben = connect(&stack, "ben").await?;
    ben.join_after(&room, &Cursor { epoch: last.epoch.clone(), seq: last.seq }).await?;
    let told = ben.next_of_log(PATIENCE).await?;
    let ServerFrame::Gap(gap) = told else { anyhow::bail!("no gap, but {told:?}") };
    ensure!(gap.after <= 5 && gap.head.epoch == again.epoch, "{gap:?}");
    // Who stood below the place of the backup gets all that follows.
    let ben = Listener::new("ben", Arc::new(Nodes::of(&stack)), 0, None);
    ben.online();
    ben.join(&room, Begin::At(Cursor { epoch: first.epoch, seq: 3 }), Arc::default());
    let begun = Instant::now();
    while !ben.is_at(&room, 12) {
        ensure!(begun.elapsed() < PATIENCE, "ben stays at {:?}", ben.cursor(&room));
        tokio::time::sleep(AGAIN).await;
    }
    let record = ben.record(&room).context("ben has joined")?;
    let heard: Vec<String> =
        record.lock().unwrap().messages().map(|message| message.text.to_string()).collect();
    ensure!(heard == ["4", "5", "11", "12", "13", "14", "15", "16", "17"], "{heard:?}");
    ensure!(history(&stack, &room).await?.len() == 12);

    // A server that was brought back by other means has only the counter moved.
    let counter = "SELECT last_value FROM epochs_opened_epoch_seq";
    database.query("SELECT setval('epochs_opened_epoch_seq', 7)").await?;
    let (moved, said) = script(&database, "restore.sh", Path::new("--recovered")).await?;
    ensure!(moved, "{said}");
    let moved_to: u64 = database.value(counter).await?.parse()?;
    ensure!(moved_to >= again.epoch.parse()?, "{moved_to}");
    Ok(())
}
