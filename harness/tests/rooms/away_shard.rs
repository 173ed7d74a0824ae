//! One shard of a Redis Cluster does not answer: presence and notices of the users of the other shards continue.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{
    Client, ClientError, Stack,
    redis::{RedisCluster, RedisTopology},
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
        let topology = RedisTopology::Cluster { masters: MASTERS, replicas_per_master: 0 };
        let stack = Stack::builder().gateways(1).redis(topology).start().await?;
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

    /// The id of a room at this master.
    fn room_at(&self, master: usize) -> Result<String> {
        let mut ids = (0..).map(|number| format!("room{number}"));
        let is_at_master =
            |id: &String| RoomId::parse(id).is_ok_and(|room| self.master_of(Partition::of(&room)) == master);
        ids.find(is_at_master).context("a room of each master")
    }
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
        "id": fixture.room_at(0)?, "kind": "private", "members": [{ "user": away }, { "user": near }]
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
