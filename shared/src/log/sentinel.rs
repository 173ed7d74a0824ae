//! Asks Sentinels for the address of their master. An answer may be old, so the process at this address is asked whether
//! it is a master. Connections are closed after the answer.

use std::{sync::atomic::Ordering, time::Duration};

use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    address::{RedisClient, Sentinels},
    shard_map::NodeAddress,
};

/// Limit for the answers of one Sentinel and of the master that it names.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// No Sentinel named a master. The text says why, for each Sentinel.
#[derive(Debug, Error)]
#[error("no Sentinel named a running master: {0}")]
pub struct NoMasterError(String);

/// Why one Sentinel did not name a master.
#[derive(Debug, Error)]
enum AnswerError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer in time")]
    TimedOut,
    #[error("it does not know a master with this name")]
    UnknownName,
    #[error("it sent an invalid address")]
    InvalidAddress,
    #[error("{0} is not a master")]
    NotAMaster(NodeAddress),
}

/// Asks the Sentinels one after the other for the address of their master. `client` has the user, password and TLS
/// settings of Redis.
pub async fn master_of(sentinels: &Sentinels, client: &RedisClient) -> Result<NodeAddress, NoMasterError> {
    let (count, first) = (sentinels.clients.len(), sentinels.last_answered.load(Ordering::Relaxed));
    let mut reasons = Vec::with_capacity(count);
    for index in (0..count).map(|offset| (first + offset) % count) {
        let sentinel = &sentinels.clients[index];
        let asking = master_named_by(sentinel, &sentinels.master_name, client);
        match timeout(ANSWER_TIMEOUT, asking).await.unwrap_or(Err(AnswerError::TimedOut)) {
            Ok(master) => {
                sentinels.last_answered.store(index, Ordering::Relaxed);
                return Ok(master);
            }
            Err(error) => reasons.push(format!("{}: {error}", sentinel.get_connection_info().addr())),
        }
    }
    Err(NoMasterError(reasons.join("; ")))
}

async fn master_named_by(
    sentinel: &RedisClient,
    master_name: &str,
    client: &RedisClient,
) -> Result<NodeAddress, AnswerError> {
    let answer: Option<(String, u16)> = redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master_name)
        .query_async(&mut connect(sentinel).await?)
        .await?;
    let (host, port) = answer.ok_or(AnswerError::UnknownName)?;
    if host.is_empty() || port == 0 {
        return Err(AnswerError::InvalidAddress);
    }
    let address = NodeAddress { host: host.into(), port };
    // INFO, because the Redis users of the services may not call ROLE.
    let replication: String =
        redis::cmd("INFO").arg("replication").query_async(&mut connect(&client.at(&address)).await?).await?;
    if replication.lines().any(|line| line.trim_end() == "role:master") {
        Ok(address)
    } else {
        Err(AnswerError::NotAMaster(address))
    }
}

async fn connect(client: &RedisClient) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    client.connect(&config).await
}
