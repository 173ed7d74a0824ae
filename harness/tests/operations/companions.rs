//! What the programs beside persistence have in common.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::postgres::Postgres;
use tidings_harness::{http, node, ports};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until `/readyz` answers with this status, and returns the text of the answer.
async fn until_readyz_answers(port: u16, status: u16) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/readyz");
    let answered = async {
        loop {
            match http::get(&url).await {
                Ok(answer) if answer.status() == status => return answer.text().await,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    Ok(tokio::time::timeout(WAIT_TIMEOUT, answered).await??)
}

/// A balancer must not send requests to a program that has no API yet.
#[tokio::test]
async fn program_is_not_ready_before_the_schema_is_there() -> Result<()> {
    let database = std::sync::Arc::new(Postgres::start().await?).database().await?;
    let (public, admin) = (ports::free()?, ports::free()?);
    let mut webhooks = tokio::process::Command::new(node::program("tidings-webhooks")?)
        .env("DATABASE_URL", database.url())
        .env("TIDINGS_JWT_SECRET", "a secret of this test only, long enough")
        .env("TIDINGS_WEBHOOKS_LISTEN", format!("127.0.0.1:{public}"))
        .env("TIDINGS_WEBHOOKS_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let waiting = until_readyz_answers(admin, 503).await?;
    ensure!(waiting.contains("starting"), "{waiting}");

    let migrated = tokio::process::Command::new(node::program("tidings-migrations")?)
        .arg("up")
        .env("DATABASE_URL", database.url())
        .output()
        .await?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    until_readyz_answers(admin, 200).await?;
    webhooks.kill().await?;
    Ok(())
}
