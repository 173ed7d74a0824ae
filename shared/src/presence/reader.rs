//! Reads presence with the rights of a Redis user that may not write, for programs that do not use the log. The reader
//! opens no epoch. So it may read the states of a process that was demoted until the map of the shards is read again,
//! which takes up to 10 s.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::AsyncConnectionConfig;

use super::{PresencePartition, PresenceState, user_states::state_read_only};
use crate::{
    ids::UserId,
    log::{MapWatch, RedisClient, RedisConnection, SessionError, connect_to_process, shard_map::NodeAddress},
};

/// Reads the presence of users, and keeps a connection to each Redis process that it has read from.
pub struct PresenceReader {
    client: RedisClient,
    map: Arc<MapWatch>,
    connections: Mutex<HashMap<NodeAddress, RedisConnection>>,
}

impl PresenceReader {
    /// Creates the reader on the current runtime. A connection is opened when it is first needed.
    #[must_use]
    pub fn new(client: RedisClient) -> Self {
        Self { map: MapWatch::start(client.clone()), client, connections: Mutex::default() }
    }

    /// Reads the present state of a user. Needs Redis 7.0.
    ///
    /// # Errors
    /// When the process of the user's shard does not answer. The next call opens another connection.
    pub async fn state(&self, user: &UserId) -> Result<PresenceState, SessionError> {
        let partition = PresencePartition::of(user).partition();
        let map = self.map.get().await?;
        let address = map.master(partition).ok_or(SessionError::NoMaster(partition.0))?;
        let mut connection = self.connection(address).await?;
        Ok(state_read_only(&mut connection, user).await?)
    }

    /// Closes the connection to the process of the user's shard and reads the map again, because a read failed or took
    /// too long. Also closes connections to processes that are masters no more.
    pub fn reset(&self, user: &UserId) {
        if let Some(map) = self.map.current() {
            let (failed, masters) = (map.master(PresencePartition::of(user).partition()), map.addresses());
            self.connections().retain(|address, _| Some(address) != failed && masters.contains(address));
        }
        self.map.refresh();
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<NodeAddress, RedisConnection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several calls may open a connection to one process at a time. The last one is kept. A process that does not answer
    /// delays no read from another one.
    async fn connection(&self, address: &NodeAddress) -> Result<RedisConnection, SessionError> {
        if let Some(connection) = self.connections().get(address) {
            return Ok(connection.clone());
        }
        let (connection, process) =
            connect_to_process(&self.client.at(address), AsyncConnectionConfig::new()).await?;
        let connection = RedisConnection::new(connection, process.layout);
        self.connections().insert(address.clone(), connection.clone());
        Ok(connection)
    }
}
