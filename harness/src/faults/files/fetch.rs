//! Downloads of the check at the end of a run.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep, timeout};

use super::upload::{describe, is_temporary};
use crate::files::{FileUser, Reply};

/// How long a request is retried before its last failure counts.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one attempt may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Downloads a file of a message, or returns the refusal.
pub(super) async fn download(user: &FileUser, room: &str, seq: u64, file: &str) -> Result<Reply> {
    let address = user.address(room, seq, file).await?;
    if address.status != 200 {
        return Ok(address);
    }
    user.get(address.json()["url"].as_str().context("no address")?).await
}

/// Repeats a request at the replicas in turn until one gives a final answer.
pub(super) async fn retry<'a, F: Future<Output = Result<Reply>>>(
    users: &'a [FileUser],
    ask: impl Fn(&'a FileUser) -> F,
) -> Result<Reply> {
    let end = Instant::now() + FETCH_TIMEOUT;
    for user in users.iter().cycle() {
        match timeout(ANSWER_TIMEOUT, ask(user)).await.map_err(anyhow::Error::from).and_then(|reply| reply) {
            Ok(reply) if !is_temporary(reply.status) => return Ok(reply),
            Ok(reply) if Instant::now() > end => bail!("no answer but {}", describe(&reply)),
            Err(error) if Instant::now() > end => return Err(error),
            _ => sleep(RETRY_PAUSE).await,
        }
    }
    bail!("there is no replica")
}
