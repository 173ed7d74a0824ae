//! The Redis Cluster of tests: slots move, masters are replaced, and the parser of the services agrees with the cluster.
//! `./dev redis plan` plans moves for it, and `./dev redis move` moves partitions.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tidings_harness::folder::Folder;
use tidings_harness::redis::{RedisCluster, RedisTopology, Shards};
use tidings_shared::log::{
    keys::Partition,
    shard_map::{ShardMap, slot_of},
};

const PARTITION: u16 = 7;
/// More than one call of MIGRATE moves.
const KEYS: usize = 250;

fn key(number: usize) -> String {
    format!("{{{PARTITION:02}}}:key:{number}")
}

async fn set(cluster: &RedisCluster, node: usize, value: usize) -> Result<()> {
    cluster.node(node).command(redis::cmd("SET").arg(key(0)).arg(value)).await
}

async fn get(cluster: &RedisCluster, node: usize) -> Result<Option<usize>> {
    cluster.node(node).command(redis::cmd("GET").arg(key(0))).await
}

/// The code with which a node refuses to read the key.
async fn refusal(cluster: &RedisCluster, node: usize) -> Result<String> {
    let error = get(cluster, node).await.err().context("the node has the key")?;
    let code = error.downcast_ref::<redis::RedisError>().and_then(redis::RedisError::code);
    code.map(ToOwned::to_owned).with_context(|| format!("an error without a code: {error:?}"))
}

/// The owner of each partition in the answer of a node, as the services read it.
async fn map(cluster: &RedisCluster, node: usize) -> Result<ShardMap> {
    let answer: redis::Value = cluster.node(node).command(redis::cmd("CLUSTER").arg("SLOTS")).await?;
    Ok(ShardMap::parse(&answer, "127.0.0.1")?)
}

/// Calls `./dev redis` for a cluster, and returns the output.
fn dev_redis(cluster: &RedisCluster, folder: &Folder, arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidings-dev"))
        .arg("--folder")
        .arg(folder.path())
        .args(["redis", "--redis-url", &cluster.node(0).url()])
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The moves that `./dev redis plan` prints, as partitions and numbers of new masters.
fn planned_moves(cluster: &RedisCluster, folder: &Folder) -> Result<Vec<(u16, usize)>> {
    let text = dev_redis(cluster, folder, &["plan"])?;
    let moves = text.lines().filter_map(|line| line.split_once(" -> "));
    let parse = |(step, to): (&str, &str)| -> Result<(u16, usize)> {
        let partition: u16 = step.split_ascii_whitespace().nth(1).context("a partition")?.parse()?;
        let to = (0..3).find(|number| cluster.node(*number).url().ends_with(to)).context("a node")?;
        Ok((partition, to))
    };
    moves.map(parse).collect()
}

#[tokio::test]
async fn cluster_moves_a_slot_with_its_keys() -> Result<()> {
    let cluster = RedisCluster::start(3, 0).await?;
    let from = cluster.master_of(PARTITION).await?;
    let (to, other) = ((from + 1) % 3, (from + 2) % 3);
    let mut write = redis::cmd("MSET");
    for number in 0..KEYS {
        write.arg(key(number)).arg(number);
    }
    let () = cluster.node(from).command(&write).await?;

    cluster.begin_move(PARTITION, to).await?;
    ensure!(cluster.master_of(PARTITION).await? == from, "the move has not ended");
    ensure!(get(&cluster, from).await? == Some(0));
    cluster.finish_move(PARTITION, to).await?;
    ensure!(cluster.master_of(PARTITION).await? == to);
    let mut read = redis::cmd("MGET");
    for number in 0..KEYS {
        read.arg(key(number));
    }
    let values: Vec<Option<usize>> = cluster.node(to).command(&read).await?;
    ensure!(values.iter().copied().eq((0..KEYS).map(Some)), "{values:?}");
    for node in [from, other] {
        ensure!(refusal(&cluster, node).await? == "MOVED");
    }

    cluster.move_slot(PARTITION, from).await?;
    ensure!(get(&cluster, from).await? == Some(0));
    ensure!(refusal(&cluster, to).await? == "MOVED");
    Ok(())
}

#[tokio::test]
async fn cluster_fails_over_to_an_older_replica() -> Result<()> {
    let cluster = RedisCluster::start(3, 1).await?;
    let old = cluster.master_of(PARTITION).await?;
    set(&cluster, old, 1).await?;
    let replica = cluster.cut_replica(old).await?;
    set(&cluster, old, 2).await?;
    cluster.node(old).kill();
    cluster.promote_older(replica).await?;
    ensure!(cluster.master_of(PARTITION).await? == replica);
    ensure!(get(&cluster, replica).await? == Some(1), "it has the older data");

    // A planned failover back loses nothing. Before it the old master must follow the new one.
    set(&cluster, replica, 3).await?;
    cluster.node(old).restart().await?;
    cluster.until_replica_follows(old, replica).await?;
    ensure!(cluster.failover(replica).await? == old);
    ensure!(get(&cluster, old).await? == Some(3));
    ensure!(refusal(&cluster, replica).await? == "MOVED");
    Ok(())
}

#[tokio::test]
async fn killed_master_is_replaced_by_its_replica() -> Result<()> {
    let cluster = RedisCluster::start(3, 1).await?;
    let old = cluster.master_of(PARTITION).await?;
    let replica = cluster.replica_of(old).await?;
    cluster.node(old).kill();
    ensure!(cluster.until_replaced(PARTITION, old).await? == replica);
    set(&cluster, replica, 1).await?;
    ensure!(get(&cluster, replica).await? == Some(1));
    Ok(())
}

#[tokio::test]
async fn services_read_the_owners_that_the_cluster_has() -> Result<()> {
    let cluster = RedisCluster::start(3, 0).await?;
    let to = (cluster.master_of(PARTITION).await? + 1) % 3;
    cluster.move_slot(PARTITION, to).await?;
    let (mut shares, maps) =
        ([0; 3], tokio::try_join!(map(&cluster, 0), map(&cluster, 1), map(&cluster, 2))?);
    for partition in Partition::all() {
        let master = cluster.master_of(partition.0).await?;
        for map in [&maps.0, &maps.1, &maps.2] {
            let address = map.master(partition).context("an owner")?;
            let is_master = address.port == cluster.node(master).port() && &*address.host == "127.0.0.1";
            ensure!(is_master, "{partition:?}: {address:?} is not node {master}");
        }
        shares[master] += 1;
        let tag = format!("{:02}", partition.0);
        let mut ask = redis::cmd("CLUSTER");
        ask.arg("KEYSLOT").arg(format!("{{{tag}}}:ingest"));
        let slot: u16 = cluster.node(0).command(&ask).await?;
        ensure!(slot == slot_of(&tag), "{tag}");
    }
    // Equal shares are 21, 21 and 22 partitions. One partition has moved.
    ensure!(shares.iter().all(|share| (20..=23).contains(share)), "{shares:?}");
    Ok(())
}

#[tokio::test]
async fn planned_moves_give_each_master_an_equal_share() -> Result<()> {
    let (cluster, folder) = (RedisCluster::start(3, 0).await?, Folder::new()?);
    ensure!(planned_moves(&cluster, &folder)?.is_empty(), "the shares are equal");
    let from = cluster.master_of(PARTITION).await?;
    let mut owned = Vec::new();
    for partition in Partition::all() {
        if cluster.master_of(partition.0).await? == from {
            owned.push(partition.0);
        }
    }
    set(&cluster, from, 1).await?;
    let to = (from + 1) % 3;
    let address = format!("127.0.0.1:{}", cluster.node(to).port());
    let number = PARTITION.to_string();
    dev_redis(&cluster, &folder, &["move", "--partition", &number, "--to", &address])?;
    ensure!(cluster.master_of(PARTITION).await? == to && get(&cluster, to).await? == Some(1));
    let other = owned.into_iter().find(|partition| *partition != PARTITION).context("a second partition")?;
    cluster.move_slot(other, to).await?;
    let moves = planned_moves(&cluster, &folder)?;
    ensure!((1..=2).contains(&moves.len()), "{moves:?}");
    dev_redis(&cluster, &folder, &["move"])?;
    for (partition, to) in moves {
        ensure!(cluster.master_of(partition).await? == to);
    }
    ensure!(planned_moves(&cluster, &folder)?.is_empty(), "the shares are equal again");
    Ok(())
}

#[tokio::test]
async fn emptied_cluster_keeps_its_slots_and_loses_its_keys() -> Result<()> {
    let folder = Folder::new()?;
    let topology = RedisTopology::Cluster { masters: 3, replicas_per_master: 0 };
    let shards = Shards::start_in(folder.path(), topology).await?;
    let owner = shards.of_partition(PARTITION).await?.port();
    let (mut write, mut read) = (redis::cmd("SET"), redis::cmd("GET"));
    shards.command::<()>(write.arg(key(0)).arg(1)).await?;
    read.arg(key(0));
    shards.restart().await?;
    ensure!(shards.command::<Option<usize>>(&read).await? == Some(1), "a restart keeps the data");
    shards.restart_empty().await?;
    ensure!(shards.command::<Option<usize>>(&read).await?.is_none());
    ensure!(shards.of_partition(PARTITION).await?.port() == owner);
    Ok(())
}
