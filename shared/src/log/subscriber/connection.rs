//! The pub/sub connection to one Redis process. It introduces itself, changes subscriptions in batches, and passes
//! published messages to the event handler while it waits. A connection that has returned an error is unusable.

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    EventHandler,
    protocol::{self, Batch, Reply},
    stream::{self, HintStream, Socket},
};
use crate::log::{RedisClient, keys::PartitionSet, layout::Layout, session::CONNECT_TIMEOUT};

/// After this time without the answer to a batch the connection fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the pub/sub connection cannot be used any more.
#[derive(Debug, Error)]
pub enum PubSubError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The text of an error from Redis.
    #[error("Redis: {0}")]
    Refused(String),
    #[error("Redis did not confirm channel {0}")]
    Unconfirmed(String),
    #[error("Redis ended the subscription to channel {0} without a request")]
    Lost(String),
    #[error("Redis did not send its run_id")]
    NoRunId,
}

pub struct PubSubConnection<S> {
    stream: HintStream<S>,
    layout: Layout,
    /// The token of the last PING.
    token: u64,
}

impl PubSubConnection<Box<dyn Socket>> {
    /// Connects to the address of the client. Returns the connection and the `run_id` of the process.
    pub async fn open(
        client: &RedisClient,
        layout: Layout,
        handler: EventHandler,
    ) -> Result<(Self, Arc<str>), PubSubError> {
        let opening = async {
            let mut connection = Self::new(stream::open(client).await?, layout, handler);
            let settings = client.get_connection_info().redis_settings();
            let run_id =
                connection.introduce(settings.username(), settings.password(), client.name()).await?;
            Ok::<_, PubSubError>((connection, run_id))
        };
        timeout(CONNECT_TIMEOUT, opening).await.map_err(io::Error::from)?
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> PubSubConnection<S> {
    fn new(socket: S, layout: Layout, handler: EventHandler) -> Self {
        Self { stream: HintStream::new(socket, handler), layout, token: 0 }
    }

    /// Authenticates, names the connection, and asks Redis for the id of its process.
    async fn introduce(
        &mut self,
        user: Option<&str>,
        password: Option<&str>,
        name: Option<&str>,
    ) -> Result<Arc<str>, PubSubError> {
        protocol::encode_handshake(user, password, name, &mut self.stream.output);
        let mut run_id: Option<Arc<str>> = None;
        let answered = self.exchange(|reply| match reply {
            // This error of an old server is not passed on, because it repeats the password.
            Reply::Error(error) if error.starts_with("ERR unknown command") && error.contains("HELLO") => {
                Err(PubSubError::Refused("the server does not know the command HELLO".to_owned()))
            }
            Reply::Error(error) => Err(PubSubError::Refused(error)),
            Reply::Text(info) => {
                run_id = protocol::run_id(&info).map(Arc::from);
                Ok(())
            }
            Reply::Subscribed(_) | Reply::Unsubscribed(_) => Ok(()),
        });
        answered.await?;
        run_id.ok_or(PubSubError::NoRunId)
    }

    /// Begins and ends subscriptions. No channel may be in both lists. In a cluster, returns the partitions with a
    /// channel that Redis has refused or ended without a request. With a single Redis such a channel is an error.
    pub async fn change(&mut self, added: &[&str], removed: &[&str]) -> Result<PartitionSet, PubSubError> {
        let mut batch = Batch::new(added, removed);
        protocol::encode_changes(self.layout, added, removed, &mut self.stream.output);
        let answered = self.exchange(|reply| {
            batch.apply(reply);
            Ok(())
        });
        timeout(ANSWER_TIMEOUT, answered).await.map_err(io::Error::from)??;
        let lost = batch.lost_partitions();
        if self.layout == Layout::Cluster {
            if let Some(error) = &batch.error {
                tracing::debug!(error, "a shard refused subscriptions");
            }
            return Ok(lost);
        }
        if let Some(error) = batch.error {
            return Err(PubSubError::Refused(error));
        }
        if let Some(channel) = batch.unconfirmed.into_iter().next() {
            return Err(PubSubError::Unconfirmed(channel.to_owned()));
        }
        batch.lost.pop().map_or(Ok(lost), |channel| Err(PubSubError::Lost(channel)))
    }

    /// Fails if Redis does not answer. Returns lost partitions like [`PubSubConnection::change`].
    pub async fn ping(&mut self) -> Result<PartitionSet, PubSubError> {
        self.change(&[], &[]).await
    }

    /// Reads until the connection or a subscription is lost, and returns the reason. The future may be dropped at any
    /// time.
    pub async fn until_lost(&mut self) -> PubSubError {
        loop {
            match self.stream.next_reply().await {
                Ok(Reply::Unsubscribed(channel)) => return PubSubError::Lost(channel),
                Ok(Reply::Error(error)) => return PubSubError::Refused(error),
                Ok(Reply::Subscribed(_) | Reply::Text(_)) => {}
                Err(error) => return error.into(),
            }
        }
    }

    /// Sends the encoded commands and a PING with a new token. Passes the replies to `apply` until the answer to the
    /// PING arrives.
    async fn exchange(
        &mut self,
        mut apply: impl FnMut(Reply) -> Result<(), PubSubError>,
    ) -> Result<(), PubSubError> {
        self.token += 1;
        let token = self.token.to_string();
        protocol::encode_command(&["PING", &token], &mut self.stream.output);
        loop {
            match self.stream.next_reply().await? {
                Reply::Text(text) if text == token => return Ok(()),
                reply => apply(reply)?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
