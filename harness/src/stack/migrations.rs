//! Runs the migrations program, as an operator does.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::node;
use crate::postgres::{Database, Postgres};

/// The database of the server of a test run that has all migrations. Each stack gets a copy of it, because a copy costs
/// a tenth of the migrations.
const TEMPLATE: &str = "migrated";

/// Creates the template on the server of a test run.
///
/// # Errors
/// When the migrations fail.
pub async fn create_template(server: &Postgres) -> Result<()> {
    server.create_database(TEMPLATE, "template1").await?;
    migrate(&server.url_of(TEMPLATE)).await
}

/// Creates a database with all migrations.
///
/// # Errors
/// When the migrations fail.
pub(super) async fn migrated_database(server: &Arc<Postgres>) -> Result<Database> {
    if server.is_of_a_run() {
        return server.copy_of(TEMPLATE).await;
    }
    let database = server.database().await?;
    migrate(database.url()).await?;
    Ok(database)
}

/// Applies all migrations to a database.
///
/// # Errors
/// When the program is missing or fails; with its output.
pub async fn migrate(database_url: &str) -> Result<()> {
    run_program(database_url, &["up"]).await
}

/// Turns the feed on or off by `tidings-migrations feed`.
///
/// # Errors
/// When the program is missing or fails; with its output.
pub async fn set_feed(database_url: &str, on: bool) -> Result<()> {
    run_program(database_url, &["feed", if on { "on" } else { "off" }]).await
}

async fn run_program(database_url: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(node::program("tidings-migrations")?);
    let settings = [("DATABASE_URL".to_owned(), database_url.to_owned())];
    node::set_environment(&mut command, &settings);
    command.args(arguments);
    let output = tokio::process::Command::from(command).output().await?;
    ensure!(
        output.status.success(),
        "tidings-migrations {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
