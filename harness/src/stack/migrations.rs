//! Runs the migrations program, as an operator does.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::node;

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
