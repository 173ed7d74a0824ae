//! A room log to which a test appends directly, as a gateway does, and which it reads back from the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use secrecy::SecretString;
use tidings_harness::Stack;
use tidings_shared::{
    ids::{ClientId, RoomId, Seq, UserId},
    internal::InternalClient,
    log::{
        Accepted, AppendError, Entry, Log, LogLimits, RedisClient,
        keys::Partition,
        stored::Stored,
        subscriber::{Event, Subscriber},
    },
};
use tokio::task::JoinHandle;

pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

pub struct RoomLog {
    pub log: Arc<Log>,
    pub room: RoomId,
    pub alice: UserId,
    redis: RedisClient,
    /// Delivers the notices about stored records until it is dropped.
    _subscriber: Subscriber,
}

/// One seq of a room in the database: `message:new` with its text, or another event with its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub kind: String,
    pub body_text: String,
}

impl RoomLog {
    /// Creates a room of alice, and starts a log whose backlog may grow to `max_backlog_records`.
    pub async fn new(stack: &Stack, max_backlog_records: u64) -> Result<Self> {
        let room = stack.http("alice").new_room(&["bob"]).await?;
        let urls: Vec<String> = stack.persistence_nodes().iter().map(|node| node.internal()).collect();
        let secret = SecretString::from(stack.internal_secret().to_owned());
        let authority = Arc::new(InternalClient::new(&urls, secret)?);
        let redis = tidings_shared::log::client(&stack.shards().url())?;
        let log = Log::start(
            redis.clone(),
            authority,
            LogLimits { max_backlog_records, max_backlog_bytes: LogLimits::DEFAULT_BACKLOG_BYTES },
        );
        let watermarks = log.watermarks().clone();
        let subscriber = Subscriber::start(log.map_watch().clone(), redis.clone(), move |event| {
            if let Event::Messages(messages) = event {
                for (channel, payload) in messages {
                    watermarks.apply_notice(channel, payload);
                }
            }
        });
        let (room, alice) = (RoomId::parse(&room)?, UserId::parse("alice")?);
        let confirmed = subscriber.subscribe(Partition::of(&room).stored()).context("the queue is full")?;
        confirmed.await?;
        Ok(Self { log, room, alice, redis, _subscriber: subscriber })
    }

    pub fn partition(&self) -> Partition {
        Partition::of(&self.room)
    }

    /// A message of alice that is marked as a first attempt.
    pub fn message(&self, client_id: &str, text: &str) -> Entry<'_> {
        let id = uuid::Uuid::now_v7().to_string();
        let body = serde_json::json!({
            "id": id, "client_id": client_id, "sender": {"id": "alice"}, "kind": "text", "content": text
        });
        Entry {
            sender: Some(&self.alice),
            client_id: ClientId::parse(client_id).ok(),
            id: Some(id),
            first_attempt: true,
            is_change: false,
            ..Entry::new(&self.room, "message:new", body.to_string())
        }
    }

    pub async fn append(&self, client_id: &str) -> Result<Accepted, AppendError> {
        self.log.append(&self.message(client_id, client_id)).await
    }

    pub async fn wait_stored(&self, accepted: &Accepted) -> Stored {
        self.log.wait_stored(&self.room, accepted).await
    }

    /// Repeats a message until it is stored, as senders do; returns its seq.
    pub async fn send(&self, client_id: &str) -> Result<Seq> {
        let begun = Instant::now();
        // Later tries clear `first_attempt`.
        let mut entry = self.message(client_id, client_id);
        while begun.elapsed() < WAIT_TIMEOUT {
            if let Ok(accepted) = self.log.append(&entry).await {
                match self.wait_stored(&accepted).await {
                    Stored::AsAccepted => return Ok(accepted.seq),
                    Stored::First { seq, .. } => return Ok(seq),
                    Stored::Rejected => bail!("{client_id} was rejected"),
                    Stored::Unavailable => {}
                }
            }
            entry.first_attempt = false;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{client_id} was not stored within {WAIT_TIMEOUT:?}")
    }

    pub async fn forget_client_ids(&self) -> Result<()> {
        let mut connection = self.redis.get_multiplexed_async_connection().await?;
        let key = self.partition().sent();
        let windows: Vec<String> =
            redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).query_async(&mut connection).await?;
        let mut command = redis::cmd("DEL");
        command.arg(&key);
        windows.iter().for_each(|window| {
            command.arg(format!("{key}:{window}"));
        });
        command.query_async::<()>(&mut connection).await?;
        Ok(())
    }

    pub async fn redis<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> Result<T> {
        let mut connection = self.redis.get_multiplexed_async_connection().await?;
        Ok(command.query_async(&mut connection).await?)
    }

    /// The log of the room in the database. Fails unless it is dense and ends at the head.
    pub async fn stored_log(&self, stack: &Stack) -> Result<Vec<StoredEvent>> {
        let room = &self.room;
        // One statement, so one snapshot: the head is its first row.
        let mut rows = stack
            .database()
            .query(&format!(
                "SELECT 0, head_seq::text, '' FROM rooms WHERE id = '{room}' UNION ALL \
                 SELECT seq, 'message:new', content FROM messages WHERE room_id = '{room}' UNION ALL \
                 SELECT seq, type, body::text FROM events WHERE room_id = '{room}' ORDER BY 1"
            ))
            .await?;
        let head = rows.remove(0).remove(1);
        for (row, seq) in rows.iter().zip(1..) {
            ensure!(row[0] == seq.to_string(), "the log has a hole: {rows:?}");
        }
        ensure!(head == rows.len().to_string(), "head {head}, {} rows", rows.len());
        Ok(rows
            .into_iter()
            .map(|mut row| StoredEvent { body_text: row.remove(2), kind: row.remove(1) })
            .collect())
    }

    pub async fn message_texts(&self, stack: &Stack) -> Result<Vec<String>> {
        let messages = self.stored_log(stack).await?.into_iter().filter(|event| event.kind == "message:new");
        Ok(messages.map(|event| event.body_text).collect())
    }

    /// Waits until the database holds this many events of the room.
    pub async fn until_head(&self, stack: &Stack, head: usize) -> Result<Vec<StoredEvent>> {
        let begun = Instant::now();
        loop {
            let events = self.stored_log(stack).await?;
            if events.len() >= head {
                return Ok(events);
            }
            ensure!(
                begun.elapsed() < WAIT_TIMEOUT,
                "{} of {head} events are stored: {events:?}",
                events.len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Prevents the writer from committing messages for `seconds`.
pub async fn hold_messages(stack: &Stack, seconds: f32) -> Result<JoinHandle<()>> {
    hold(stack, "LOCK TABLE messages IN SHARE MODE", seconds).await
}

pub async fn hold_partition(stack: &Stack, partition: Partition, seconds: f32) -> Result<JoinHandle<()>> {
    let row = format!("SELECT FROM partitions WHERE partition = {} FOR UPDATE", partition.0);
    hold(stack, &row, seconds).await
}

/// Holds a lock for `seconds` in a transaction; returns once the lock is held.
pub async fn hold(stack: &Stack, lock: &str, seconds: f32) -> Result<JoinHandle<()>> {
    let url = stack.database().url().to_owned();
    let sql = format!("BEGIN; {lock}; SELECT pg_sleep({seconds}); COMMIT");
    let hold = tokio::spawn(async move {
        let status = tokio::process::Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command", &sql, &url])
            .status()
            .await;
        assert!(status.is_ok_and(|status| status.success()), "psql");
    });
    // The transaction sleeps only after it has the lock.
    stack.database().until_asleep().await?;
    Ok(hold)
}

/// The sum of all series of a metric, or the value of one series with labels. A labelled series exists only after its
/// first use.
pub async fn metric(stack: &Stack, node: usize, line: &str) -> Result<f64> {
    let text = stack.persistence(node).metrics().await?;
    let value = |found: &str| -> Option<f64> {
        let rest = found.strip_prefix(line)?;
        let value = if rest.starts_with('{') { rest.split_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        value.parse().ok()
    };
    let values: Vec<f64> = text.lines().filter_map(value).collect();
    ensure!(!values.is_empty(), "there is no {line}");
    Ok(values.iter().sum())
}
