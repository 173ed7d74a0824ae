//! Reads the stored watermarks of partitions from Redis, because a notice may be lost. The shards of a Redis Cluster
//! are read concurrently, and no shard waits for another one.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use redis::{RedisError, RedisResult};

use super::{Watermarks, comparable_epoch};
use crate::{
    ids::Epoch,
    log::{
        keys::{Partition, PartitionSet},
        session::{Session, SessionEffect},
        stored_state::parse_watermark,
    },
};

impl Watermarks {
    /// Starts to read the watermarks of the partitions with awaited events. Leaves out partitions whose last such read
    /// still runs, so that an unresponsive shard delays no other one.
    pub(super) fn poll_awaited_partitions(self: &Arc<Self>) {
        let awaited = Partition::all().filter(|partition| self.progress(*partition).begin_poll()).collect();
        for (session, partitions) in self.group_by_session_or_partition(awaited) {
            let watermarks = self.clone();
            tokio::spawn(async move {
                watermarks.poll_in_session(session, &partitions).await;
                partitions.iter().for_each(|partition| watermarks.progress(*partition).is_polled = false);
            });
        }
    }

    /// Reads the watermarks of partitions. The shards are read concurrently.
    pub(super) async fn poll_partitions(&self, partitions: &[Partition]) {
        let groups = self.group_by_session_or_partition(partitions.to_vec());
        let polls =
            groups.iter().map(|(session, partitions)| self.poll_in_session(session.clone(), partitions));
        join_all(polls).await;
    }

    /// Splits partitions by their sessions. Each partition without a session is alone.
    fn group_by_session_or_partition(
        &self,
        partitions: Vec<Partition>,
    ) -> Vec<(Option<Arc<Session>>, Vec<Partition>)> {
        let (by_session, without) =
            self.sessions.split_by_current_session(partitions, |partition| *partition);
        let served = by_session.into_iter().map(|(session, served)| (Some(session), served));
        served.chain(without.into_iter().map(|partition| (None, vec![partition]))).collect()
    }

    /// Reads the watermarks of partitions of a session. Without a session, opens the one of the only partition. Ends
    /// the session if its connection fails, or for the partitions whose epoch has ended.
    async fn poll_in_session(&self, session: Option<Arc<Session>>, partitions: &[Partition]) {
        let session = match (session, partitions.first()) {
            (Some(session), _) => session,
            (None, Some(partition)) => match self.sessions.get(*partition).await {
                Ok(session) => session,
                Err(_) => return,
            },
            (None, None) => return,
        };
        match self.read_watermarks(&session, partitions).await {
            Ok(epochs) => {
                // Another epoch was opened after the session's. Events that are appended in the session's epoch would
                // never be stored, so the session must end.
                let later = epochs.into_iter().filter(|(_, epoch)| *epoch > session.epoch);
                let ended: PartitionSet = later.map(|(partition, _)| partition).collect();
                if !ended.is_empty() {
                    self.sessions.end_partitions(&session, ended);
                }
            }
            Err(error) => self.handle_failed_read(&session, &error),
        }
    }

    fn handle_failed_read(&self, session: &Arc<Session>, error: &RedisError) {
        tracing::debug!(%error, "reading the stored watermark failed");
        match SessionEffect::of(error) {
            SessionEffect::Ended => self.sessions.discard(session),
            SessionEffect::PartitionsEnded(ended) => self.sessions.end_partitions(session, ended),
            SessionEffect::SlotMoves | SessionEffect::None => {}
        }
    }

    /// Reads the watermarks of partitions, and then the exceptions (records that were not stored as sent) among the
    /// awaited events up to these watermarks. Answers the waiters of these events. Returns the epochs of the
    /// watermarks. An error in one partition concerns no other one.
    async fn read_watermarks(
        &self,
        session: &Arc<Session>,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Epoch)>, RedisError> {
        let mut connection = session.connection();
        let mut pipe = redis::pipe();
        for partition in partitions {
            pipe.cmd("GET").arg(partition.stored());
        }
        let values: Vec<RedisResult<Option<String>>> =
            pipe.ignore_errors().query_async(&mut connection).await?;
        // One script writes exceptions and watermark together, and the exceptions are read after the watermark, so no
        // exception up to the watermark is missing. MULTI is not used, because Redis refuses MULTI when memory is full.
        let (mut epochs, mut covered, mut pipe) = (Vec::new(), Vec::new(), redis::pipe());
        for (partition, value) in partitions.iter().zip(values) {
            let value = value.inspect_err(|error| self.handle_failed_read(session, error)).ok().flatten();
            let Some((opened, watermark)) = value.as_deref().and_then(parse_watermark) else { continue };
            let epoch = comparable_epoch(opened);
            epochs.push((*partition, opened));
            let event_keys = self.progress(*partition).advance_without_exceptions(epoch, watermark);
            if !event_keys.is_empty() {
                let key = partition.exceptions();
                pipe.cmd("HMGET").arg(&key).arg(&event_keys);
                pipe.cmd("HMGET").arg(format!("{key}:old")).arg(&event_keys);
                covered.push((*partition, epoch, watermark, event_keys));
            }
        }
        if covered.is_empty() {
            return Ok(epochs);
        }
        let mut answers = pipe
            .ignore_errors()
            .query_async::<Vec<RedisResult<Vec<Option<String>>>>>(&mut connection)
            .await?
            .into_iter();
        for (partition, epoch, watermark, event_keys) in covered {
            let (Some(recent), Some(old)) = (answers.next(), answers.next()) else { break };
            let (recent, old) = match (recent, old) {
                (Ok(recent), Ok(old)) => (recent, old),
                (Err(error), _) | (_, Err(error)) => {
                    self.handle_failed_read(session, &error);
                    continue;
                }
            };
            let outcomes = event_keys.iter().cloned().zip(recent.into_iter().zip(old));
            let exceptions = outcomes.filter_map(|(at, (recent, old))| Some((at, recent.or(old)?))).collect();
            let event_keys: HashSet<String> = event_keys.into_iter().collect();
            self.progress(partition).advance_watermark(epoch, watermark, &exceptions, |_, waiter| {
                event_keys.contains(&waiter.event_key)
            });
        }
        Ok(epochs)
    }
}
