//! Migrates a database with the migrations program, as an operator does.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::node;

/// Applies all migrations to a database.
///
/// # Errors
/// When the program is missing or fails; with its output.
pub async fn migrate(database_url: &str) -> Result<()> {
    let mut command = Command::new(node::program("tidings-migrations")?);
    let settings = [("DATABASE_URL".to_owned(), database_url.to_owned())];
    node::set_environment(&mut command, &settings);
    let output = tokio::process::Command::from({
        command.arg("up");
        command
    })
    .output()
    .await?;
    ensure!(
        output.status.success(),
        "tidings-migrations up: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
