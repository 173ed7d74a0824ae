//! One shard of a Redis Cluster does not answer or cannot be read: presence, notices, joins and replays of the other
//! shards continue.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tidings_harness::{
    Client, ClientError, ServerFrame, Stack, clock,
    frames::JoinedRoom,
    redis::{RedisCluster, RedisTopology},
    socket_io::{SocketIo, SocketIoTransport},
};
use tidings_shared::{
    ids::{RoomId, UserId},
    log::keys::Partition,
    presence::PresencePartition,
};

use crate::room_log::hold;

const MASTERS: usize = 3;
const PAUSED: usize = 1;
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages of each room that a client misses.
const MISSED: u64 = 2;
/// Rooms of a lost connection in the dead shard. When each check of such a room held one of 16 permits for 3 s, all
/// checks together held them for 30 s.
const RECOVERED_ROOMS: usize = 160;
/// Time limit of a replay that needs milliseconds.
const REPLAY_LIMIT: Duration = Duration::from_secs(15);
/// Rooms of one join in the dead shard. When 32 rooms at a time waited 3 s each, the join needed 7 such waits.
const JOINED_ROOMS: usize = 199;
/// The join of all these rooms must end sooner than this number of joins of one of them, one after the other.
const MAX_WAITS: usize = 5;
/// Maximum time for which the creation of a room waits before its commit.
const MAX_COMMIT_DELAY_S: f32 = 20.0;
/// Ends this wait.
const END_COMMIT_DELAY: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
    WHERE query LIKE 'BEGIN; LOCK TABLE rooms%' AND datname = current_database()";

/// A stack with a cluster, and the master of each partition.
struct ClusterStack {
    stack: Stack,
    masters: Vec<usize>,
}

impl ClusterStack {
    async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts the stack with these environment variables of the gateway.
    async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let topology = RedisTopology::Cluster { masters: MASTERS, replicas_per_master: 0 };
        let mut builder = Stack::builder().gateways(1).redis(topology);
        for (name, value) in settings {
            builder = builder.gateway_env(name, value);
        }
        let stack = builder.start().await?;
        let cluster = stack.shards().cluster().context("the stack has a cluster")?;
        let mut masters = Vec::new();
        for partition in Partition::all() {
            masters.push(cluster.master_of(partition.0).await?);
        }
        Ok(Self { stack, masters })
    }

    fn cluster(&self) -> Result<&RedisCluster> {
        self.stack.shards().cluster().context("the stack has a cluster")
    }

    fn master_of(&self, partition: Partition) -> usize {
        self.masters[usize::from(partition.0)]
    }

    /// A user whose caches, channel and presence are at this master.
    fn user_at(&self, master: usize) -> Result<String> {
        let mut names = (0..).map(|number| format!("user{number}"));
        let is_at_master = |name: &String| {
            UserId::parse(name).is_ok_and(|user| {
                self.master_of(Partition::of_user(&user)) == master
                    && self.master_of(PresencePartition::of(&user).partition()) == master
            })
        };
        names.find(is_at_master).context("a user of each master")
    }

    /// The ids of `count` rooms at this master.
    fn rooms_at(&self, master: usize, count: usize) -> Vec<String> {
        let ids = (0..).map(|number| format!("room{number}"));
        let is_at_master =
            |id: &String| RoomId::parse(id).is_ok_and(|room| self.master_of(Partition::of(&room)) == master);
        ids.filter(is_at_master).take(count).collect()
    }

    /// Creates private rooms with these ids and these two members.
    async fn create_rooms(&self, ids: &[String], owner: &str, member: &str) -> Result<()> {
        let http = self.stack.http(owner).with_token(&self.stack.admin_token(owner));
        for ids in ids.chunks(4) {
            let creating = ids.iter().map(|id| {
                http.post("/rooms", json!({ "id": id, "kind": "private", "members": [{ "user": member }] }))
            });
            for created in try_join_all(creating).await? {
                ensure!(created.status == 201, "{} {}", created.status, created.body);
            }
        }
        Ok(())
    }

    /// Joins rooms as a client that then goes away, and sends [`MISSED`] messages to each. Returns what it was told.
    async fn miss_messages(&self, ids: &[String], owner: &str, member: &str) -> Result<Vec<JoinedRoom>> {
        let rooms: Vec<&str> = ids.iter().map(String::as_str).collect();
        let heads = self.stack.connect(member).await?.join_many(&rooms).await?.rooms;
        ensure!(heads.len() == ids.len(), "{heads:?}");
        for room in rooms {
            for _ in 0..MISSED {
                self.stack.http(owner).send(room, &clock::client_id(), "missed").await?.expect(201);
            }
        }
        Ok(heads)
    }
}

/// Joins rooms after these heads.
async fn join_after_heads(client: &Client, heads: &[JoinedRoom]) -> Result<()> {
    let rooms: Vec<&str> = heads.iter().map(|joined| joined.room.as_str()).collect();
    let after: Value = heads.iter().map(|joined| (joined.room.clone(), json!(joined.head))).collect();
    client.ask(json!({ "type": "room:join", "rooms": rooms, "after": after })).await?;
    Ok(())
}

/// Receives the missed messages of these rooms, each once and in order, and then `room:caught_up` of each room.
async fn receive_missed(client: &Client, heads: &[JoinedRoom]) -> Result<()> {
    let mut replaying: HashMap<&str, (u64, u64)> = heads
        .iter()
        .map(|joined| (joined.room.as_str(), (joined.head.seq, joined.head.seq + MISSED)))
        .collect();
    while !replaying.is_empty() {
        match client.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => {
                let (seq, _) =
                    replaying.get_mut(&*message.room).with_context(|| format!("unexpected: {message:?}"))?;
                *seq += 1;
                ensure!(message.seq == *seq, "{} in place of {seq} in {}", message.seq, message.room);
            }
            ServerFrame::CaughtUp(caught_up) => {
                let replayed =
                    replaying.remove(&*caught_up.room).with_context(|| format!("again: {caught_up:?}"))?;
                ensure!(replayed == (caught_up.seq, caught_up.seq), "{caught_up:?} after {replayed:?}");
            }
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

fn listed_users(answer: &Value) -> Vec<&str> {
    answer["users"].as_array().into_iter().flatten().filter_map(|entry| entry["user"].as_str()).collect()
}

/// Requests the presence of users until exactly these users are listed.
async fn until_listed(client: &Client, asked: &[&str], listed: &[&str]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = client.ask(json!({ "type": "presence:get", "users": asked })).await;
        if answer.as_ref().is_ok_and(|(_, answer)| listed_users(answer) == listed) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "expected {listed:?}, got {answer:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn presence_lists_only_users_whose_shard_answers() -> Result<()> {
    let fixture = ClusterStack::start().await?;
    let (stack, cluster) = (&fixture.stack, fixture.cluster()?);
    let (me, near, away) = (fixture.user_at(0)?, fixture.user_at(2)?, fixture.user_at(PAUSED)?);
    stack.http(&me).new_room(&[&near, &away]).await?;
    let client = stack.connect(&me).await?;
    let both = [near.as_str(), away.as_str()];
    until_listed(&client, &both, &both).await?;

    cluster.node(PAUSED).pause()?;
    until_listed(&client, &both, &[&near]).await?;
    match client.ask(json!({ "type": "presence:get", "users": [away] })).await {
        Err(ClientError::Answered(error)) => ensure!(error.code == "unavailable", "{error:?}"),
        other => anyhow::bail!("{other:?}"),
    }
    let http = stack.http(&me);
    let answer = http.get(&format!("/presence?user={away}&user={near}")).await?.expect(200).body;
    ensure!(listed_users(&answer) == [near.as_str()], "{answer}");
    let refused = http.get(&format!("/presence?user={away}")).await?.expect(503).body;
    ensure!(refused["code"] == "unavailable", "{refused}");

    cluster.node(PAUSED).resume()?;
    until_listed(&client, &both, &both).await
}

#[tokio::test]
async fn new_room_is_announced_to_members_whose_shard_answers() -> Result<()> {
    let fixture = ClusterStack::start().await?;
    let (stack, cluster) = (&fixture.stack, fixture.cluster()?);
    let (owner, near, away) = (fixture.user_at(0)?, fixture.user_at(2)?, fixture.user_at(PAUSED)?);
    let client = stack.connect(&near).await?;
    let body = json!({
        "id": fixture.rooms_at(0, 1)[0], "kind": "private", "members": [{ "user": away }, { "user": near }]
    });
    let http = stack.http(&owner).with_token(&stack.admin_token(&owner));
    // The shard stops answering between the notices before the commit, which must reach all members, and those after.
    let commit = hold(stack, "LOCK TABLE rooms IN SHARE MODE", MAX_COMMIT_DELAY_S).await?;
    let waits = "SELECT (count(*) > 0)::text FROM pg_stat_activity \
                 WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let pausing = async {
        stack.database().until(waits, "true").await?;
        cluster.node(PAUSED).pause()?;
        stack.database().query(END_COMMIT_DELAY).await.map(drop)
    };
    let announced = async { anyhow::Ok(client.wait_for("room:added", WAIT_TIMEOUT).await?) };
    let creating = async { anyhow::Ok(http.post("/rooms", body).await?) };
    let (created, (), _) = tokio::try_join!(creating, pausing, announced)?;
    ensure!(created.status == 201, "{} {}", created.status, created.body);
    cluster.node(PAUSED).resume()?;
    ensure!(commit.await.is_err(), "the shard was paused after the commit");
    Ok(())
}

#[tokio::test]
async fn unreadable_rooms_do_not_stop_replays_of_other_rooms() -> Result<()> {
    let fixture = ClusterStack::start().await?;
    let (stack, cluster) = (&fixture.stack, fixture.cluster()?);
    let (owner, reader) = (fixture.user_at(2)?, fixture.user_at(0)?);
    // The rooms of the unreadable shard are the first in the queue of replays.
    let mut rooms = fixture.rooms_at(PAUSED, 60);
    let unreadable = rooms.len();
    rooms.extend(fixture.rooms_at(0, 2));
    fixture.create_rooms(&rooms, &owner, &reader).await?;
    let heads = fixture.miss_messages(&rooms, &owner, &reader).await?;
    let (away, near) = heads.split_at(unreadable);
    let client = stack.connect(&reader).await?;
    // Heads can be read and tails cannot, so the rooms are joined, and their replays fail.
    let shard = cluster.node(PAUSED);
    let () = shard.command(redis::cmd("ACL").arg("SETUSER").arg("default").arg("-xrange")).await?;
    join_after_heads(&client, &heads).await?;
    receive_missed(&client, near).await.context("the readable rooms")?;

    let () = shard.command(redis::cmd("ACL").arg("SETUSER").arg("default").arg("+xrange")).await?;
    receive_missed(&client, away).await.context("the rooms that became readable")?;
    let live = &away[0];
    stack.http(&owner).send(&live.room, &clock::client_id(), "live").await?.expect(201);
    match client.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Message(message) if message.room == live.room => {
            ensure!(message.seq == live.head.seq + MISSED + 1, "{message:?}");
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn recovery_in_a_dead_shard_delays_no_replay_of_others() -> Result<()> {
    let settings =
        [("TIDINGS_SOCKET_IO", "on"), ("TIDINGS_SOCKET_IO_RECOVERY", "on"), ("TIDINGS_WORKERS", "1")];
    let fixture = ClusterStack::start_with(&settings).await?;
    let (stack, cluster) = (&fixture.stack, fixture.cluster()?);
    let (owner, reader) = (fixture.user_at(2)?, fixture.user_at(0)?);
    let near = fixture.rooms_at(0, 1);
    fixture.create_rooms(&near, &owner, &reader).await?;
    let heads = fixture.miss_messages(&near, &owner, &reader).await?;
    // The memberships of the recovering user are cached.
    stack.connect(&owner).await?.join_and_catch_up(&near[0]).await?;
    let client = stack.connect(&reader).await?;
    let mut lost = SocketIo::open(&stack.gateway(0).url(), SocketIoTransport::WebSocket).await?;
    let away = fixture.rooms_at(PAUSED, RECOVERED_ROOMS);
    let positions: Vec<String> = away.iter().map(|room| format!("{room}=0@1")).collect();
    let pid = format!("{}~tag~{owner}", positions.join(";"));
    let auth = json!({ "token": stack.token(&owner), "pid": pid, "offset": "tag" });

    cluster.node(PAUSED).kill();
    let replaying = async {
        // By now the rooms of the lost connection are being checked.
        tokio::time::sleep(Duration::from_millis(500)).await;
        join_after_heads(&client, &heads).await?;
        let receiving = tokio::time::timeout(REPLAY_LIMIT, receive_missed(&client, &heads));
        receiving.await.context("the replay waited for the dead shard")?
    };
    let (answer, replayed) = tokio::join!(lost.connect("/", &auth), replaying);
    replayed?;
    ensure!(answer?["pid"] != auth["pid"], "a connection cannot be recovered without its shard");
    Ok(())
}

#[tokio::test]
async fn join_waits_once_for_all_rooms_of_a_dead_shard() -> Result<()> {
    let fixture = ClusterStack::start().await?;
    let (stack, cluster) = (&fixture.stack, fixture.cluster()?);
    let (owner, reader) = (fixture.user_at(2)?, fixture.user_at(0)?);
    let mut rooms = fixture.rooms_at(PAUSED, JOINED_ROOMS);
    rooms.extend(fixture.rooms_at(0, 1));
    fixture.create_rooms(&rooms, &owner, &reader).await?;
    let (many, single) = (stack.connect(&reader).await?, stack.connect(&reader).await?);
    // The memberships are cached.
    single.join_and_catch_up(&rooms[JOINED_ROOMS]).await?;

    cluster.node(PAUSED).kill();
    let ids: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let waiting = async {
        for _ in 0..MAX_WAITS {
            let joined = single.join(&rooms[0]).await;
            ensure!(joined.is_err(), "{joined:?}");
        }
        anyhow::Ok(())
    };
    let joined = tokio::select! {
        joined = many.join_many(&ids) => joined?,
        waited = waiting => {
            waited?;
            bail!("one join took as long as {MAX_WAITS} joins of one room");
        }
    };
    ensure!(joined.rooms.len() == 1 && joined.failed.len() == JOINED_ROOMS, "{joined:?}");
    ensure!(joined.failed.iter().all(|failed| failed.code == "unavailable"), "{joined:?}");
    many.wait_for("room:caught_up", WAIT_TIMEOUT).await?;
    Ok(())
}
