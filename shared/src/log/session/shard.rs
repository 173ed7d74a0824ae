//! A shard is one Redis process that serves as a master, and the two connections to it. Heads and tails are read on a
//! connection of their own, so that appends do not wait behind tails. A shard does not reconnect: when a connection
//! breaks, all sessions of the shard end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};

use super::SessionError;
use crate::log::{
    RedisClient,
    checks::check_node,
    layout::{Layout, RedisConnection},
    process_id::ProcessId,
    shard_map::NodeAddress,
};
use crate::sabotage;

/// After this time without an answer a command fails, although it may have taken effect. Appends are safe to repeat.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of commands in the queue of a connection. If the queue is full, callers wait for space.
const PIPELINE_CAPACITY: usize = 4096;

/// The two connections to one Redis process, and the identity of this process.
#[derive(Debug)]
pub struct Shard {
    pub address: NodeAddress,
    connection: RedisConnection,
    reads: RedisConnection,
    /// Whether the last PING on the connection for reads timed out.
    reads_timed_out: AtomicBool,
    process: ProcessId,
    /// Whether the connections were found to be unusable.
    ended: AtomicBool,
}

impl Shard {
    /// Connects twice to the process behind the client's address. Fails if the connections lead to two processes, or if
    /// a node of a cluster cannot serve the log.
    pub async fn open(client: &RedisClient) -> Result<Self, SessionError> {
        let (mut connection, process) = connect_to_process(client, AsyncConnectionConfig::new()).await?;
        let (reads, process_of_reads) = connect_to_process(client, AsyncConnectionConfig::new()).await?;
        if process_of_reads.run_id != process.run_id {
            return Err(SessionError::TwoProcesses);
        }
        if process.layout == Layout::Cluster {
            check_node(&mut connection).await??;
        }
        let connection = RedisConnection::new(connection, process.layout);
        let reads = RedisConnection::new(reads, process.layout);
        let (reads_timed_out, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { address: client.address(), connection, reads, reads_timed_out, process, ended })
    }

    /// Whether the shard can serve another session. Asks the process, which may have been promoted meanwhile.
    pub async fn is_unchanged(&self) -> bool {
        if self.ended.load(Ordering::Relaxed) {
            return false;
        }
        let process = ProcessId::read(&mut self.connection()).await;
        process.is_ok_and(|process| process.as_ref() == Some(&self.process))
    }

    /// Prevents that the shard serves another session.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Returns a handle of the connection for all commands except reads of rooms.
    pub fn connection(&self) -> RedisConnection {
        self.connection.clone()
    }

    /// Returns a handle of the connection for reads of heads and tails.
    pub fn reads_connection(&self) -> RedisConnection {
        self.reads.clone()
    }

    /// The process of the shard, as it was when the shard was opened.
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// Records whether a PING on the connection for reads timed out. Returns true if this PING and the previous one
    /// timed out. One timeout proves nothing, because a PING may wait behind large tails.
    pub fn record_reads_ping(&self, timed_out: bool) -> bool {
        self.reads_timed_out.swap(timed_out, Ordering::Relaxed) && timed_out
    }
}

/// Connects to the Redis process behind the client's address. Returns the connection and the identity of the process.
///
/// # Errors
/// Fails at a replica. An epoch that was opened there would decide bases before the replica has everything that its
/// master accepts until the promotion.
pub async fn connect_to_process(
    client: &RedisClient,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, ProcessId), SessionError> {
    let config = with_limits(config).set_connection_timeout(Some(CONNECT_TIMEOUT));
    let mut connection = client.connect(&config).await?;
    let process = ProcessId::read(&mut connection).await?.ok_or(SessionError::NoRunId)?;
    if process.is_replica && !sabotage::is_removed("no epoch is opened at a replica") {
        return Err(SessionError::Replica);
    }
    Ok((connection, process))
}

/// Sets the response timeout and the queue capacity, which are the same for all connections.
fn with_limits(config: AsyncConnectionConfig) -> AsyncConnectionConfig {
    config.set_response_timeout(Some(RESPONSE_TIMEOUT)).set_pipeline_buffer_size(PIPELINE_CAPACITY)
}
