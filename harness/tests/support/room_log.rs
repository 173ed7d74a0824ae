//! A room whose log a test appends to directly, as a gateway does, and reads back from the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use secrecy::SecretString;
use tidings_harness::Stack;
use tidings_shared::{
    ids::{ClientId, RoomId, Seq, UserId},
    internal::InternalClient,
    log::{
        Accepted, AppendError, Entry, Log, LogLimits,
        keys::Partition,
        stored::{Notice, Stored},
        subscriber::{Event, Subscriber},
    },
};
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct RoomLog {
    pub log: Arc<Log>,
    pub room: RoomId,
    pub alice: UserId,
    redis: redis::Client,
    /// Brings the stored notices, as long as it is kept.
    _subscriber: Subscriber,
}

/// One position of a room as the database has it: `message:new` with its text, or an event with its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    pub kind: String,
    pub what: String,
}

impl RoomLog {
    /// A new room of alice's; the backlog may grow to `max_backlog_records`.
    pub async fn new(stack: &Stack, max_backlog_records: u64) -> Result<Self> {
        let room = stack.http("alice").new_room(&["bob"]).await?;
        let urls: Vec<String> = stack.persistence_nodes().iter().map(|node| node.internal()).collect();
        let secret = SecretString::from(stack.internal_secret().to_owned());
        let authority = Arc::new(InternalClient::new(&urls, secret)?);
        let redis = tidings_shared::log::client(&stack.redis().url())?;
        let log = Log::start(redis.clone(), authority, LogLimits { max_backlog_records });
        let watermarks = log.watermarks().clone();
        let subscriber = Subscriber::start(redis.clone(), move |event| {
            if let Event::Message { channel, payload } = event
                && let Some(partition) = Partition::of_stored_channel(&channel)
                && let Some(notice) = std::str::from_utf8(&payload).ok().and_then(Notice::parse)
            {
                watermarks.notice(partition, &notice);
            }
        });
        let (room, alice) = (RoomId::parse(&room)?, UserId::parse("alice")?);
        let confirmed = subscriber.subscribe(Partition::of(&room).stored()).context("the queue is empty")?;
        confirmed.await?;
        Ok(Self { log, room, alice, redis, _subscriber: subscriber })
    }

    pub fn partition(&self) -> Partition {
        Partition::of(&self.room)
    }

    /// A message of alice's that she promises to send for the first time.
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

    pub async fn stored(&self, accepted: &Accepted) -> Stored {
        self.log.wait_stored(&self.room, accepted).await
    }

    /// Repeats a message until it is stored, as senders do; the seq at which it stands.
    pub async fn send(&self, client_id: &str) -> Result<Seq> {
        let begun = Instant::now();
        // Only the first time is the first attempt.
        let mut entry = self.message(client_id, client_id);
        while begun.elapsed() < PATIENCE {
            if let Ok(accepted) = self.log.append(&entry).await {
                match self.stored(&accepted).await {
                    Stored::Here => return Ok(accepted.seq),
                    Stored::First { seq, .. } => return Ok(seq),
                    Stored::Rejected => bail!("{client_id} was rejected"),
                    Stored::Unavailable => {}
                }
            }
            entry.first_attempt = false;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{client_id} was not stored in {PATIENCE:?}")
    }

    /// Redis loses its memory of client ids.
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

    /// The log of the room in the database, checked: dense, and as long as the head says.
    pub async fn stands(&self, stack: &Stack) -> Result<Vec<Stands>> {
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
            ensure!(row[0] == seq.to_string(), "not dense: {rows:?}");
        }
        ensure!(head == rows.len().to_string(), "head {head}, {} rows", rows.len());
        Ok(rows.into_iter().map(|mut row| Stands { what: row.remove(2), kind: row.remove(1) }).collect())
    }

    /// The texts of the room's messages.
    pub async fn texts(&self, stack: &Stack) -> Result<Vec<String>> {
        let messages = self.stands(stack).await?.into_iter().filter(|stands| stands.kind == "message:new");
        Ok(messages.map(|stands| stands.what).collect())
    }

    /// Waits until the database holds this many positions of the room.
    pub async fn until_head(&self, stack: &Stack, head: usize) -> Result<Vec<Stands>> {
        let begun = Instant::now();
        loop {
            let stands = self.stands(stack).await?;
            if stands.len() >= head {
                return Ok(stands);
            }
            ensure!(begun.elapsed() < PATIENCE, "{} of {head} are stored: {stands:?}", stands.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Keeps the writer from committing messages until the answer ends: `seconds` later.
pub async fn hold_messages(stack: &Stack, seconds: f32) -> Result<JoinHandle<()>> {
    hold(stack, "LOCK TABLE messages IN SHARE MODE", seconds).await
}

/// Holds the partition's row until the answer ends.
pub async fn hold_partition(stack: &Stack, partition: Partition, seconds: f32) -> Result<JoinHandle<()>> {
    let row = format!("SELECT FROM partitions WHERE partition = {} FOR UPDATE", partition.0);
    hold(stack, &row, seconds).await
}

/// Takes a lock in a transaction that ends with the answer.
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
    // It sleeps once it has the lock.
    stack.database().until_asleep().await?;
    Ok(hold)
}

/// The value of a metric without labels, or of one line of it: such a line is there once it counted something.
pub async fn metric(stack: &Stack, node: usize, line: &str) -> Result<f64> {
    let text = stack.persistence(node).metrics().await?;
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("there is no {line}"))?.parse()?)
}
