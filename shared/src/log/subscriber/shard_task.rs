//! The task that keeps the pub/sub connection of one shard. It subscribes to the wanted channels of the partitions that
//! it owns, checks the connection by PING every 2 s, and connects again when the connection is lost. In a cluster, a
//! refused or ended subscription takes only its partition offline, and the task subscribes again after a pause. With a
//! single Redis it ends the connection. The task ends when it owns no partition.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::{
    RECONNECT_PAUSE, RefreshMap,
    channels::{ChannelChange, Channels, TaskWake},
    connection::{PubSubConnection, PubSubError},
    stream::Socket,
};
use crate::log::{
    RedisClient,
    keys::{Partition, PartitionSet},
    layout::Layout,
};

const PING_EVERY: Duration = Duration::from_secs(2);
/// Maximum number of channels in one change of the subscriptions.
const MAX_BATCH: usize = 1000;

type Connection = PubSubConnection<Box<dyn Socket>>;

pub struct ShardTask {
    pub client: RedisClient,
    pub layout: Layout,
    pub channels: Arc<Channels>,
    pub refresh_map: RefreshMap,
    pub wake: TaskWake,
}

impl ShardTask {
    /// Runs until the task owns no partition.
    pub async fn run(self) {
        while !self.channels.owned_by(&self.wake).is_empty() {
            if let Err(error) = self.serve().await {
                tracing::warn!(%error, "pub/sub connection lost");
            }
            self.channels.lose(&self.wake, PartitionSet::ALL);
            (self.refresh_map)();
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Connects, and keeps the subscriptions until the connection must be replaced or the task owns no partition.
    async fn serve(&self) -> Result<(), PubSubError> {
        let handler = self.channels.handler();
        let (mut connection, run_id) = PubSubConnection::open(&self.client, self.layout, handler).await?;
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Lost partitions are subscribed again at this time; `None` if no partition is lost.
        let mut retry_at: Option<Instant> = None;
        loop {
            let is_due = retry_at.is_none_or(|retry_at| Instant::now() >= retry_at);
            let mut lost = if is_due {
                retry_at = None;
                self.subscribe_missing(&mut connection, &run_id).await?
            } else {
                PartitionSet::default()
            };
            lost = lost | self.apply_changes(&mut connection).await?;
            if lost.is_empty() {
                let retry = async {
                    match retry_at {
                        Some(retry_at) => sleep_until(retry_at).await,
                        None => std::future::pending().await,
                    }
                };
                lost = tokio::select! {
                    error = connection.until_lost() => match error {
                        PubSubError::Lost(channel) if self.layout == Layout::Cluster => {
                            PartitionSet::from(Partition::of_channel(&channel))
                        }
                        error => return Err(error),
                    },
                    _ = ping.tick() => connection.ping().await?,
                    () = self.wake.notified() => PartitionSet::default(),
                    () = retry => PartitionSet::default(),
                };
            }
            if !lost.is_empty() {
                self.channels.lose(&self.wake, lost);
                (self.refresh_map)();
                retry_at = Some(Instant::now() + RECONNECT_PAUSE);
            }
            if self.channels.must_reconnect(&self.wake) || self.channels.owned_by(&self.wake).is_empty() {
                return Ok(());
            }
        }
    }

    /// Subscribes to all channels of the partitions that the task has not taken yet. Returns the lost partitions.
    async fn subscribe_missing(
        &self,
        connection: &mut Connection,
        run_id: &Arc<str>,
    ) -> Result<PartitionSet, PubSubError> {
        let mut lost = PartitionSet::default();
        let (missing, channels) = self.channels.take_missing(&self.wake);
        if missing.is_empty() {
            return Ok(lost);
        }
        let channels: Vec<&str> = channels.iter().map(|channel| &**channel).collect();
        for channels in channels.chunks(MAX_BATCH) {
            lost = lost | connection.change(channels, &[]).await?;
        }
        self.channels.set_online(&self.wake, missing - lost, run_id);
        Ok(lost)
    }

    /// Applies the changes since the task took the channels. Returns the lost partitions.
    async fn apply_changes(&self, connection: &mut Connection) -> Result<PartitionSet, PubSubError> {
        let mut changes = self.channels.take_changes(&self.wake);
        let mut lost = PartitionSet::default();
        while !changes.is_empty() {
            let batch = &changes[..MAX_BATCH.min(changes.len())];
            let count = batch.len();
            let outcome = change_subscriptions(connection, batch).await;
            match outcome {
                Ok(lost_now) => lost = lost | lost_now,
                Err(error) => {
                    self.channels.finish_changes(changes.into_iter(), PartitionSet::ALL);
                    return Err(error);
                }
            }
            self.channels.finish_changes(changes.drain(..count), lost);
        }
        Ok(lost)
    }
}

/// Subscribes to the channels of a batch that are wanted, and unsubscribes from the others.
async fn change_subscriptions(
    connection: &mut Connection,
    batch: &[ChannelChange],
) -> Result<PartitionSet, PubSubError> {
    let unique: HashMap<&str, bool> =
        batch.iter().map(|change| (&*change.channel, change.is_wanted)).collect();
    let (added, removed): (Vec<&str>, Vec<&str>) = unique.keys().copied().partition(|name| unique[name]);
    connection.change(&added, &removed).await
}
