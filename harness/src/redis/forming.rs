//! Makes a cluster of empty nodes on 127.0.0.1, and waits until nodes agree. At the start the masters own equal shares of
//! the partitions, and together all slots. The nodes may belong to a test or to `./dev up`.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::cluster_nodes::{ClusterNode, PARTITIONS, known_nodes, partition_slots};
use super::command_at;

const LAST_SLOT: u16 = 16_383;
/// Timeout for one node's CLUSTER NODES answer.
const VIEW_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the nodes may need to agree after a change.
pub(super) const AGREE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two introductions of the nodes.
const MEET_INTERVAL: Duration = Duration::from_secs(5);

/// The ports of a node: for clients and for the other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    pub clients: u16,
    pub bus: u16,
}

impl NodePorts {
    /// `redis://127.0.0.1:PORT`
    pub fn url(self) -> String {
        format!("redis://127.0.0.1:{}", self.clients)
    }
}

/// Makes a cluster of running, empty nodes. The first `masters` nodes become masters, the others replicas, which are
/// divided among the masters. Returns when all nodes serve clients.
///
/// # Errors
/// When a node refuses a step, or the nodes do not agree in time.
pub async fn form_cluster(nodes: &[NodePorts], masters: usize) -> Result<()> {
    ensure!((1..=usize::from(PARTITIONS)).contains(&masters) && masters <= nodes.len(), "{masters} masters");
    let urls: Vec<String> = nodes.iter().map(|node| node.url()).collect();
    let slots = partition_slots(&urls[0]).await?;
    for (number, range) in equal_ranges(&slots, masters).into_iter().enumerate() {
        // Masters with equal epochs would change them later.
        run(&urls[number], redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(number + 1)).await?;
        let mut add = redis::cmd("CLUSTER");
        add.arg("ADDSLOTSRANGE").arg(*range.start()).arg(*range.end());
        run(&urls[number], &add).await?;
    }
    let is_complete =
        |views: &[Vec<ClusterNode>], replicas| is_complete(views, nodes.len(), replicas, &slots);
    tokio::select! {
        known = until("the nodes know each other", || urls.clone(), |views| is_complete(views, 0)) => known?,
        failed = introduce(&urls[0], &nodes[1..]) => return failed,
    }
    for (number, replica) in urls[masters..].iter().enumerate() {
        let master: String = command_at(&urls[number % masters], redis::cmd("CLUSTER").arg("MYID")).await?;
        run(replica, redis::cmd("CLUSTER").arg("REPLICATE").arg(master)).await?;
    }
    let replicas = nodes.len() - masters;
    until("the nodes agree", || urls.clone(), |views| is_complete(views, replicas)).await?;
    until_serving(&urls).await
}

/// Introduces these nodes to the node at `url`, again and again. If a node is too slow for the time limit of the handshake,
/// it forgets the first node, which then waits for it for ever. Ends only with an error.
async fn introduce(url: &str, nodes: &[NodePorts]) -> Result<()> {
    loop {
        for node in nodes {
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(node.clients).arg(node.bus);
            run(url, &meet).await?;
        }
        sleep(MEET_INTERVAL).await;
    }
}

/// Waits until all nodes serve slots, and all replicas have the data of their masters.
///
/// # Errors
/// When it takes too long.
pub async fn until_serving(urls: &[String]) -> Result<()> {
    let begun = Instant::now();
    for url in urls {
        while !is_serving(url).await {
            ensure!(begun.elapsed() < AGREE_TIMEOUT, "{url} does not serve its slots");
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Whether a node knows enough others to answer commands, and is a master or in sync with its master. A started master
/// waits two seconds before it answers commands.
async fn is_serving(url: &str) -> bool {
    let state: Result<String> = command_at(url, redis::cmd("CLUSTER").arg("INFO")).await;
    let role: Result<String> = command_at(url, redis::cmd("INFO").arg("replication")).await;
    let has_data = |info: String| info.contains("role:master") || info.contains("master_link_status:up");
    state.is_ok_and(|state| state.contains("cluster_state:ok")) && role.is_ok_and(has_data)
}

/// Waits until what the nodes know fulfils the condition. Nodes that do not answer are left out. `urls` is called before
/// each attempt.
pub(super) async fn until(
    what: &str,
    urls: impl Fn() -> Vec<String>,
    is_done: impl Fn(&[Vec<ClusterNode>]) -> bool,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let views = views(urls()).await;
        if !views.is_empty() && is_done(&views) {
            return Ok(());
        }
        ensure!(begun.elapsed() < AGREE_TIMEOUT, "{what}: not within {AGREE_TIMEOUT:?}: {views:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all of these nodes that answer know the node with this id as the owner of the slot.
///
/// # Errors
/// When it takes too long.
pub async fn until_owner(urls: &[String], slot: u16, id: &str) -> Result<()> {
    let is_owner = |view: &Vec<ClusterNode>| view.iter().any(|node| node.owns(slot) && node.id == id);
    until("the slot has moved", || urls.to_vec(), |views| views.iter().all(is_owner)).await
}

/// The cluster view of each node. Leaves out nodes that do not answer in time, such as paused ones.
pub(super) async fn views(urls: Vec<String>) -> Vec<Vec<ClusterNode>> {
    let asking = urls.iter().map(|url| timeout(VIEW_TIMEOUT, known_nodes(url)));
    join_all(asking).await.into_iter().flatten().flatten().collect()
}

/// Whether all of this number of nodes answered, reach each other and know the same owner of each slot, and this number
/// of them are replicas.
pub(super) fn is_complete(views: &[Vec<ClusterNode>], nodes: usize, replicas: usize, slots: &[u16]) -> bool {
    let is_complete = |view: &Vec<ClusterNode>| {
        view.len() == nodes
            && view.iter().all(|node| node.is_reachable)
            && view.iter().filter(|node| node.master.is_some()).count() == replicas
    };
    views.len() == nodes && views.iter().all(is_complete) && agree(views, slots)
}

/// Whether all nodes that answered know the same owner of each slot.
pub(super) fn agree(views: &[Vec<ClusterNode>], slots: &[u16]) -> bool {
    slots.iter().all(|slot| {
        let mut owners = views.iter().map(|view| view.iter().find(|node| node.owns(*slot)));
        let first = owners.next().flatten().map(|node| &node.id);
        first.is_some() && owners.all(|owner| owner.map(|node| &node.id) == first)
    })
}

async fn run(url: &str, command: &redis::Cmd) -> Result<()> {
    let answer: Result<()> = command_at(url, command).await;
    answer.with_context(|| format!("the node {url}"))
}

/// Divides all slots into ranges, one for each master. Each range contains an equal share of `slots`.
fn equal_ranges(slots: &[u16], masters: usize) -> Vec<RangeInclusive<u16>> {
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    let first = |number: usize| if number == 0 { 0 } else { sorted[number * sorted.len() / masters] };
    let last = |number: usize| if number + 1 == masters { LAST_SLOT } else { first(number + 1) - 1 };
    (0..masters).map(|number| first(number)..=last(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ranges_divide_all_slots_and_partitions() {
        let slots: Vec<u16> = (0..64).map(|number| number * number * 4).collect();
        let ranges = equal_ranges(&slots, 3);
        let share = |range: &RangeInclusive<u16>| slots.iter().filter(|slot| range.contains(*slot)).count();
        assert_eq!(ranges.iter().map(share).collect::<Vec<_>>(), [21, 21, 22]);
        assert_eq!((*ranges[0].start(), *ranges[2].end()), (0, LAST_SLOT));
        assert!(ranges.windows(2).all(|pair| pair[0].end() + 1 == *pair[1].start()));
    }
}
