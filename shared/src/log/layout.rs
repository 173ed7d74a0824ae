//! The names of the keys and channels of users and of presence depend on the layout. A single Redis keeps the names of
//! earlier versions. In a Redis Cluster each of these names begins with the tag of a partition, and channels are sharded.

use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};

/// The form of the names of keys and channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One process holds everything.
    Single,
    /// A Redis Cluster, in which the keys of a call must be in one slot.
    Cluster,
}

impl Layout {
    /// The command that publishes a message on a channel.
    pub fn publish_command(self) -> &'static str {
        match self {
            Self::Single => "PUBLISH",
            Self::Cluster => "SPUBLISH",
        }
    }
}

/// A handle of a connection to a Redis process, with the layout of the process.
#[derive(Debug, Clone)]
pub struct RedisConnection {
    connection: MultiplexedConnection,
    layout: Layout,
}

impl RedisConnection {
    /// `layout` is that of the process to which the connection leads.
    pub fn new(connection: MultiplexedConnection, layout: Layout) -> Self {
        Self { connection, layout }
    }

    /// The layout of the process.
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.connection.req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
