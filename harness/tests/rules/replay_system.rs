//! One system with a room of alice and bob, and the steps that replays have in common.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use secrecy::SecretString;
use serde_json::{Value, json};
use tidings_harness::frames::Ack;
use tidings_harness::redis::{Redis, RedisImage};
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Client, ClientError, Cursor, Stack};
use tidings_shared::ids::{Epoch, RoomId};
use tidings_shared::internal::InternalClient;
use tidings_shared::log::{Authority, SeedOutcome, keys, keys::Partition};

pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// A message must be stored within this time once all processes are back.
pub const STORE_DEADLINE: Duration = Duration::from_secs(12);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The promise that the replay broke, in words. `None` if all promises hold.
pub type BrokenPromise = Option<String>;

/// A system with one room of alice and bob, and alice's connection.
pub struct ReplaySystem {
    pub stack: Stack,
    pub room: String,
    pub alice: Client,
}

/// The final answer to a message that the client repeats until it is stored or refused.
#[derive(Debug)]
pub enum FinalAnswer {
    Stored(Ack),
    Refused,
    /// The message was neither stored nor refused in time.
    Nothing,
}

impl ReplaySystem {
    pub async fn start(builder: StackBuilder) -> Result<ReplaySystem> {
        let stack = builder.start().await?;
        let room = stack.http("alice").new_room(&["bob"]).await?;
        let alice = stack.connect("alice").await?;
        Ok(ReplaySystem { stack, room, alice })
    }

    /// Sends a message with this client id as the first attempt, and waits until it is accepted.
    pub async fn send_until_accepted(&self, id: &str) -> Result<Ack> {
        self.repeat_until_accepted(id, Some(1)).await
    }

    /// Repeats a message, without a claim that this is the first attempt, until it is accepted.
    pub async fn retry_until_accepted(&self, id: &str) -> Result<Ack> {
        self.repeat_until_accepted(id, None).await
    }

    async fn repeat_until_accepted(&self, id: &str, attempt: Option<u32>) -> Result<Ack> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_TIMEOUT {
            match self.alice.send_with(self.message_fields(id, attempt)).await {
                Ok(ack) => return Ok(ack),
                Err(error) if is_transient(&error) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        bail!("{id} is not accepted")
    }

    /// The fields of a message with this client id, whose sender waits for the stage `accepted`.
    pub fn message_fields(&self, id: &str, attempt: Option<u32>) -> Value {
        let mut fields = json!({ "room": self.room, "client_id": id, "content": id, "ack": "accepted" });
        if let Some(attempt) = attempt {
            fields["attempt"] = json!(attempt);
        }
        fields
    }

    /// Repeats a message until it is stored or refused, for at most this time.
    pub async fn retry_until_answered(&self, id: &str, limit: Duration) -> Result<FinalAnswer> {
        let repeated = async {
            loop {
                match self.alice.send_as(&self.room, id, id).await {
                    Ok(ack) => return Ok(FinalAnswer::Stored(ack)),
                    Err(error) if is_transient(&error) => tokio::time::sleep(RETRY_PAUSE).await,
                    Err(ClientError::Answered(_)) => return Ok(FinalAnswer::Refused),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        tokio::time::timeout(limit, repeated).await.unwrap_or(Ok(FinalAnswer::Nothing))
    }

    pub async fn send_until_stored(&self, id: &str) -> Result<Ack> {
        match self.retry_until_answered(id, WAIT_TIMEOUT).await? {
            FinalAnswer::Stored(ack) => Ok(ack),
            other => bail!("{id} is not stored: {other:?}"),
        }
    }

    /// For each seq of the room in PostgreSQL: the client id of a message, or the type of another event.
    pub async fn stored_rows(&self) -> Result<Vec<String>> {
        let room = &self.room;
        let sql = format!(
            "SELECT client_id, seq FROM messages WHERE room_id = '{room}' UNION ALL \
             SELECT type, seq FROM events WHERE room_id = '{room}' ORDER BY 2"
        );
        Ok(self.stack.database().query(&sql).await?.into_iter().map(|mut row| row.remove(0)).collect())
    }

    /// Repeats a message until it is stored. A promise is broken if PostgreSQL holds something else at the seq of the
    /// message, or if the message is not stored in time.
    pub async fn check_stored(&self, id: &str) -> Result<BrokenPromise> {
        let ack = match self.retry_until_answered(id, STORE_DEADLINE).await? {
            FinalAnswer::Stored(ack) => ack,
            other => return Ok(Some(format!("{id} is never stored: {other:?}"))),
        };
        let rows = self.stored_rows().await?;
        let at = usize::try_from(ack.seq)?.checked_sub(1).and_then(|index| rows.get(index));
        Ok((at.map(String::as_str) != Some(id))
            .then(|| format!("{id} is answered `stored` at {}, and PostgreSQL holds {rows:?}", ack.seq)))
    }

    /// Takes all partitions from their writer, for at most 50 s.
    pub async fn suspend_writer(&self) -> Result<()> {
        let sql = "UPDATE partitions SET owner = 'away', token = token + 1, \
                   lease_until = clock_timestamp() + interval '50 seconds'";
        self.stack.database().query(sql).await.map(drop)
    }

    /// Lets a writer take the partitions.
    pub async fn resume_writer(&self) -> Result<()> {
        self.stack.database().query("UPDATE partitions SET owner = NULL, lease_until = NULL").await.map(drop)
    }

    pub async fn restart_redis_from(&self, image: &RedisImage) -> Result<()> {
        self.stack.redis().restart_from(image).await
    }

    /// Waits until this epoch is open, and the room is seeded for it.
    pub async fn until_seeded(&self, epoch: u64) -> Result<()> {
        self.until_opened(epoch).await?;
        self.until_joined().await?;
        self.until_base_is_decided(epoch).await
    }

    /// Repeats the join of alice until it succeeds.
    pub async fn until_joined(&self) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.alice.join(&self.room).await {
            ensure!(is_transient(&error) && begun.elapsed() < WAIT_TIMEOUT, "alice cannot join: {error}");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }

    pub async fn until_head_in_redis(&self, head: u64) -> Result<()> {
        let key = keys::room(&RoomId::parse(&self.room)?);
        let begun = Instant::now();
        loop {
            let found: Option<u64> =
                self.stack.redis().command(redis::cmd("HGET").arg(&key).arg("seq")).await?;
            if found == Some(head) {
                return Ok(());
            }
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "the head is {found:?}, not {head}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Connects a user and joins the room, at its head or after a cursor.
    pub async fn connect_and_join(&self, user: &str, after: Option<&Cursor>) -> Result<Client> {
        let (begun, client) = (Instant::now(), self.stack.connect(user).await?);
        loop {
            let joined = match after {
                Some(after) => client.join_after(&self.room, after).await,
                None => client.join(&self.room).await,
            };
            match joined {
                Ok(_) => return Ok(client),
                Err(error) if is_transient(&error) && begun.elapsed() < WAIT_TIMEOUT => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub async fn until_opened(&self, epoch: u64) -> Result<()> {
        self.stack.database().until("SELECT max(epoch) FROM epochs_opened", &epoch.to_string()).await
    }

    /// Asks one persistence node to seed the room, and repeats this while the node is unavailable. Also repeats it
    /// while the node answers `Later`, because a lock may be held for a moment; the fifth such answer is returned.
    pub async fn seed_at(&self, node: usize, epoch: u64) -> Result<SeedOutcome> {
        let (authority, begun, mut later) = (authority_client(&self.stack, node)?, Instant::now(), 0);
        let room = RoomId::parse(&self.room)?;
        loop {
            match authority.seed(Epoch(epoch), std::slice::from_ref(&room)).await {
                Ok(outcomes) if outcomes == [SeedOutcome::Later] && later < 4 => {
                    later += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Ok(outcomes) => return outcomes.first().copied().context("no outcome"),
                Err(_) if begun.elapsed() < WAIT_TIMEOUT => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => {
                    let sql = "SELECT epoch, run_id, partitions, opened_at FROM epochs_opened ORDER BY epoch";
                    let opened = self.stack.database().query(sql).await;
                    return Err(error).context(format!(
                        "could not seed the room for epoch {epoch}; opened epochs: {opened:?}"
                    ));
                }
            }
        }
    }

    /// Waits until the base of the room in this epoch is in PostgreSQL.
    pub async fn until_base_is_decided(&self, epoch: u64) -> Result<()> {
        let room = &self.room;
        let decided =
            format!("SELECT count(*) FROM room_epochs WHERE room_id = '{room}' AND epoch = {epoch}");
        self.stack.database().until(&decided, "1").await
    }

    /// A counter of the first persistence node, by its name without the common prefix.
    pub async fn counter(&self, name: &str) -> Result<u64> {
        let name = format!("tidings_persistence_{name} ");
        let metrics = self.stack.persistence(0).metrics().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        Ok(value.map(str::parse).transpose()?.unwrap_or(0))
    }

    pub fn partition(&self) -> Result<Partition> {
        Ok(Partition::of(&RoomId::parse(&self.room)?))
    }

    /// Creates another room of alice in the partition of the room.
    pub async fn new_room_in_same_partition(&self) -> Result<String> {
        let partition = self.partition()?;
        let is_there = |id: &String| RoomId::parse(id).is_ok_and(|room| Partition::of(&room) == partition);
        let id = (0..).map(|number| format!("room{number}")).find(is_there).context("no room is there")?;
        let alice = self.stack.http("alice").with_token(&self.stack.admin_token("alice"));
        alice.post("/rooms", json!({ "id": id, "kind": "private" })).await?.expect(201);
        Ok(id)
    }

    /// The epoch and the milliseconds of the watermark that a Redis process holds for the room's partition; zeros if it
    /// holds none.
    pub async fn watermark(&self, redis: &Redis) -> Result<(u64, u64)> {
        let held: Option<String> = redis.command(redis::cmd("GET").arg(self.partition()?.stored())).await?;
        let parsed = held.as_deref().and_then(|held| {
            let (epoch, id) = held.split_once(' ')?;
            Some((epoch.parse().ok()?, id.split_once('-')?.0.parse().ok()?))
        });
        Ok(parsed.unwrap_or_default())
    }

    /// Waits until the watermark in Redis has reached the last record of the room's partition.
    pub async fn until_watermark_is_at_end(&self) -> Result<()> {
        let (begun, partition) = (Instant::now(), self.partition()?);
        loop {
            let redis = self.stack.redis();
            let held: Option<String> = redis.command(redis::cmd("GET").arg(partition.stored())).await?;
            let mut last = redis::cmd("XREVRANGE");
            last.arg(partition.ingest()).arg("+").arg("-").arg("COUNT").arg(1);
            let last: Vec<(String, Vec<String>)> = redis.command(&last).await?;
            let last = last.into_iter().next().map(|(id, _)| id);
            if last.is_some() && held.as_deref().and_then(|held| held.split(' ').nth(1)) == last.as_deref() {
                return Ok(());
            }
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "the watermark is {held:?}, the last record {last:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many `EVALSHA` calls Redis has run since it started.
    pub async fn evalsha_calls(&self) -> Result<u64> {
        let statistics: String = self.stack.redis().command(redis::cmd("INFO").arg("commandstats")).await?;
        let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        Ok(line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0))
    }

    /// Sets the state that the room's partition has some time after its epoch began: a UUIDv7 that Redis does not
    /// remember is new. A window of client ids must have begun.
    pub async fn trust_client_ids(&self) -> Result<()> {
        let (redis, list) = (self.stack.redis(), self.partition()?.sent());
        let window: String = redis.command(redis::cmd("LINDEX").arg(&list).arg(-1)).await?;
        let key = format!("{list}:{window}");
        let new_from: String = redis.command(redis::cmd("HGET").arg(&key).arg("new_from")).await?;
        let (epoch, _) = new_from.split_once(' ').context("no epoch and time")?;
        let trusted = format!("{epoch} 0");
        let _: usize = redis.command(redis::cmd("HSET").arg(&key).arg("new_from").arg(trusted)).await?;
        Ok(())
    }

    pub async fn forget_client_ids(&self) -> Result<()> {
        let redis = self.stack.redis();
        let keys: Vec<String> = redis.command(redis::cmd("KEYS").arg("*:sent*")).await?;
        let forgotten: usize = redis.command(redis::cmd("DEL").arg(&keys)).await?;
        ensure!(forgotten > 0, "Redis remembered nothing");
        Ok(())
    }
}

pub fn authority_client(stack: &Stack, node: usize) -> Result<InternalClient> {
    let secret = SecretString::from(stack.internal_secret().to_owned());
    InternalClient::new(&[stack.persistence(node).internal()], secret).context("a client of one node")
}

/// Whether the client must repeat the command.
pub fn is_transient(error: &ClientError) -> bool {
    match error {
        ClientError::Answered(error) => matches!(error.code.as_str(), "unavailable" | "overloaded"),
        _ => false,
    }
}
