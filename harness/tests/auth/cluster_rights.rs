//! The shipped Redis users in a Redis Cluster. A conversation works with their rights, and no node refuses a command that
//! the services need. Neither user has the rights of the other service.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use redis::{Value, cmd};
use tidings_harness::http::Http;
use tidings_harness::redis::{Redis, RedisCluster, RedisTopology};
use tidings_harness::{Stack, node};
use tidings_shared::ids::UserId;
use tidings_shared::log::address::{SentinelAccess, client_with};
use tidings_shared::log::{self, Layout, RedisConnection};
use tidings_shared::presence::{self, NodeLease, NodeState, PresencePartition, PresenceReader};
use tidings_shared::protocol::Status;

use crate::secured::{GATEWAY_USER, PERSISTENCE_USER, PLACEHOLDER_HASH, PUSH_USER, project_file};
use crate::tls::{run_gateway_commands, run_http_requests};

const PASSWORD: &str = "password-of-all-users";
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The services try to read this setting, and log at level info if they have no right to.
const UNREADABLE_SETTING: &str = "cluster-require-full-coverage";

/// Gives a server the shipped users.
async fn add_users(server: &Redis) -> Result<()> {
    let users = project_file("deploy/redis/users.acl")?;
    for line in users.lines().filter(|line| line.starts_with("user tidings-")) {
        let line = line.replace(&format!("#{PLACEHOLDER_HASH}"), &format!(">{PASSWORD}"));
        let mut add = cmd("ACL");
        add.arg("SETUSER").arg(line.split(' ').skip(1).collect::<Vec<_>>());
        server.command::<()>(&add).await?;
    }
    Ok(())
}

fn url_of(cluster: &RedisCluster, user: &str) -> String {
    let hosts: Vec<String> =
        cluster.nodes().iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    format!("redis+cluster://{user}:{PASSWORD}@{}", hosts.join(","))
}

/// What the nodes of the cluster have refused, except for the setting that no service needs.
async fn refusals(cluster: &RedisCluster) -> Result<Vec<HashMap<String, Value>>> {
    let mut refusals = Vec::new();
    for server in cluster.nodes() {
        let log: Vec<HashMap<String, Value>> = server.command(cmd("ACL").arg("LOG")).await?;
        refusals.extend(log);
    }
    refusals.retain(|entry| entry.get("object") != Some(&Value::BulkString(b"config|get".to_vec())));
    Ok(refusals)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversation_in_a_cluster_completes_with_shipped_users() -> Result<()> {
    let cluster = RedisCluster::start(3, 1).await?;
    for server in cluster.nodes() {
        add_users(server).await?;
    }
    // The stack's own Redis stays unused.
    let stack = Stack::builder()
        .gateways(2)
        .persistence(2)
        .redis(RedisTopology::Single)
        .gateway_env("REDIS_URL", url_of(&cluster, GATEWAY_USER))
        .gateway_env("TIDINGS_SOCKET_IO", "on")
        .persistence_env("REDIS_URL", url_of(&cluster, PERSISTENCE_USER))
        .start()
        .await?;
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    for client in [&alice, &bob] {
        client.join_and_catch_up(&room).await?;
    }
    let sent = bob.send(&room, "hello").await?;
    ensure!(sent.stage == "stored", "{sent:?}");
    alice.wait_for("message:new", WAIT_TIMEOUT).await?;
    let polls = Http::new(&stack.gateway(1).url(), &stack.token("bob"));
    run_gateway_commands(&bob, &polls, &room).await?;
    let job = Command::new(node::program("tidings-persistence")?)
        .env_clear()
        .env("REDIS_URL", url_of(&cluster, PERSISTENCE_USER))
        .env("DATABASE_URL", stack.database().url())
        .args(["retain", "--older-than", "1d", "--archive"])
        .output()?;
    ensure!(job.status.success(), "{}", String::from_utf8_lossy(&job.stderr));
    run_http_requests(&http, &room).await?;

    let refused = refusals(&cluster).await?;
    ensure!(refused.is_empty(), "{refused:?}");
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        let log = node.log()?;
        let is_refusal = |line: &&str| line.to_uppercase().contains("NOPERM");
        let refused = log.lines().filter(is_refusal).find(|line| !line.contains(UNREADABLE_SETTING));
        ensure!(refused.is_none(), "{:?}: {refused:?}", node.service());
    }
    // Each master got commands of both users, so the services really used the cluster.
    for server in &cluster.nodes()[..3] {
        let clients: String = server.command(cmd("CLIENT").arg("LIST")).await?;
        for user in [GATEWAY_USER, PERSISTENCE_USER] {
            ensure!(clients.contains(&format!("user={user}")), "{user}: {clients}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn user_of_one_service_lacks_cluster_rights_of_the_other() -> Result<()> {
    let redis = Redis::start().await?;
    add_users(&redis).await?;
    for (command, gateway, persistence) in [
        ("CLUSTER SLOTS", true, true),
        ("CLUSTER FAILOVER", false, false),
        ("CONFIG GET maxmemory", false, false),
        ("SSUBSCRIBE other", false, false),
        ("SPUBLISH {07}:other 1", false, false),
        ("GET {07}:other", false, false),
        ("GET {07}:epoch", true, true),
        ("GET {07}:rooms:ann", true, true),
        ("SSUBSCRIBE {07}:user:ann", true, true),
        ("SPUBLISH {07}:user:ann 1", true, true),
        ("SPUBLISH {28}:presence 1", true, true),
        ("SUNSUBSCRIBE {07}:user:ann", true, false),
        ("GET {07}:rate:ann", true, false),
        ("SET {07}:gateway:1 x", true, false),
        ("SET {00}:presence:sweeper 1", true, false),
        ("GET {28}:presence:life:x", true, false),
        ("GET {07}:account:ann", true, true),
        ("DEL {07}:account:ann", false, true),
        ("SET {00}:presence:writer 1", false, true),
        ("SPUBLISH {00}:leases 1", false, true),
    ] {
        for (user, is_allowed) in [(GATEWAY_USER, gateway), (PERSISTENCE_USER, persistence)] {
            let mut dry_run = cmd("ACL");
            dry_run.arg("DRYRUN").arg(user).arg(command.split(' ').collect::<Vec<_>>());
            let answer: String = redis.command(&dry_run).await?;
            ensure!((answer == "OK") == is_allowed, "{user}: {command}: {answer}");
        }
    }
    Ok(())
}

/// The ids of the connections of a server whose last command read presence.
async fn reading_connections(server: &Redis) -> Result<Vec<String>> {
    let clients: String = server.command(cmd("CLIENT").arg("LIST")).await?;
    let reading = clients.lines().filter(|client| client.contains("cmd=eval_ro"));
    Ok(reading.filter_map(|client| client.split(' ').next()).map(str::to_owned).collect())
}

#[tokio::test]
async fn reset_of_presence_reader_keeps_healthy_connections() -> Result<()> {
    let cluster = RedisCluster::start(3, 0).await?;
    for server in cluster.nodes() {
        add_users(server).await?;
    }
    let master_of = async |user: &UserId| cluster.master_of(PresencePartition::of(user).partition().0).await;
    let failed = UserId::parse("alice")?;
    let failed_master = master_of(&failed).await?;
    let mut number = 0;
    let (healthy, healthy_master) = loop {
        let user = UserId::parse(&format!("user{number}"))?;
        match master_of(&user).await? {
            master if master != failed_master => break (user, master),
            _ => number += 1,
        }
    };
    let client = client_with(&url_of(&cluster, PUSH_USER), None, None, SentinelAccess::default());
    let reader = PresenceReader::new(client.map_err(anyhow::Error::msg)?.named("tidings-push", "test"));
    let connections = async || -> Result<[Vec<String>; 2]> {
        for user in [&failed, &healthy] {
            reader.state(user).await?;
        }
        let (failed, healthy) = (cluster.node(failed_master), cluster.node(healthy_master));
        Ok([reading_connections(failed).await?, reading_connections(healthy).await?])
    };
    let [first, kept] = connections().await?;
    reader.reset(&failed);
    let [second, still_kept] = connections().await?;
    ensure!(first != second, "{first:?}");
    ensure!(kept == still_kept && kept.len() == 1, "{kept:?} {still_kept:?}");
    Ok(())
}

#[tokio::test]
async fn user_of_push_reads_presence_and_nothing_else() -> Result<()> {
    let redis = Redis::start().await?;
    add_users(&redis).await?;
    let (user, lease) = (UserId::parse("alice")?, NodeLease::generate());
    let connection = redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
    let mut connection = RedisConnection::new(connection, Layout::Single);
    let partition = PresencePartition::of(&user);
    ensure!(presence::begin_lease(&mut connection, &[partition], &lease).await?);
    let state = NodeState { user: user.clone(), status: Some(Status::Away), grace: None, last_sign_ms: 0 };
    presence::write_states(&mut connection, &lease, &[state], 0).await?;
    let url = format!("redis://{PUSH_USER}:{PASSWORD}@127.0.0.1:{}", redis.port());
    let reader = PresenceReader::new(log::client(&url)?.named("tidings-push", "test"));
    ensure!(reader.state(&user).await?.status == Some(Status::Away));
    ensure!(reader.state(&UserId::parse("bob")?).await?.status.is_none());
    let refused: Vec<HashMap<String, Value>> = redis.command(cmd("ACL").arg("LOG")).await?;
    ensure!(refused.is_empty(), "{refused:?}");
    for (command, is_allowed) in [
        ("CLUSTER SLOTS", true),
        ("INFO server", true),
        ("HGETALL {u07}:presence:user:alice", true),
        ("HGETALL {28}:presence:user:alice", true),
        ("EVAL_RO x 1 {28}:presence:lives", true),
        ("EVAL_RO x 1 {28}:room:tea", false),
        ("EVAL x 1 {28}:presence:lives", false),
        ("SCRIPT LOAD x", false),
        ("HSET {u07}:presence:user:alice s o", false),
        ("DEL {u07}:presence:user:alice", false),
        ("HGETALL {28}:room:tea", false),
        ("GET {28}:epoch", false),
        ("SET {28}:epoch 1", false),
        ("PUBLISH presence x", false),
        ("SUBSCRIBE presence", false),
        ("FLUSHALL", false),
    ] {
        let mut dry_run = cmd("ACL");
        dry_run.arg("DRYRUN").arg(PUSH_USER).arg(command.split(' ').collect::<Vec<_>>());
        let answer: String = redis.command(&dry_run).await?;
        ensure!((answer == "OK") == is_allowed, "{command}: {answer}");
    }
    Ok(())
}
