//! What a node of a Redis Cluster knows about the cluster, from its answer to CLUSTER NODES. Also asks Redis for the
//! slots of the partitions, because the harness imports no code of the services.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};

use super::command_at;

/// The number of partitions. The keys of a partition have its two digits as their hash tag.
pub const PARTITIONS: u16 = 64;

/// A node, as another node or the node itself describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    pub id: String,
    /// Host and port for clients.
    pub address: String,
    /// The id of the node's master. `None` if the node is a master.
    pub master: Option<String>,
    /// Whether the describing node has a link to this node, and nobody reported this node as failed.
    pub is_reachable: bool,
    /// Of two masters that claim a slot, the one with the higher number owns it.
    pub config_epoch: u64,
    pub slots: Vec<RangeInclusive<u16>>,
}

impl ClusterNode {
    /// Whether the node is a master with this slot.
    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// The port for clients.
    pub(super) fn port(&self) -> Option<u16> {
        self.address.rsplit_once(':')?.1.parse().ok()
    }

    /// Parses a line: id, address, flags, master, two times, config epoch, state of the link, slots.
    fn parse(line: &str) -> Option<ClusterNode> {
        let mut fields = line.split_ascii_whitespace();
        let id = fields.next()?.to_owned();
        // The bus port and a host name follow the address: `127.0.0.1:6379@16379,redis-1`.
        let address = fields.next()?.split('@').next()?.to_owned();
        let flags = fields.next()?;
        let master = Some(fields.next()?).filter(|master| *master != "-").map(ToOwned::to_owned);
        let config_epoch = fields.nth(2)?.parse().ok()?;
        let is_linked = fields.next()? == "connected";
        let is_lost = flags.split(',').any(|flag| matches!(flag, "fail" | "fail?" | "handshake" | "noaddr"));
        // A slot that moves is in square brackets, and also in one of the ranges.
        let ranges = fields.filter(|field| !field.starts_with('['));
        let slots = ranges.map(parse_range).collect::<Option<Vec<_>>>()?;
        Some(ClusterNode { id, address, master, is_reachable: is_linked && !is_lost, config_epoch, slots })
    }
}

/// Parses `5461-10922` or `5461`.
fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn parse_nodes(answer: &str) -> Result<Vec<ClusterNode>> {
    let parse = |line: &str| ClusterNode::parse(line).with_context(|| format!("unknown form: {line}"));
    answer.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// The nodes that the Redis with this URL knows, including itself.
///
/// # Errors
/// When Redis does not answer, or is not a node of a cluster.
pub async fn known_nodes(url: &str) -> Result<Vec<ClusterNode>> {
    let answer: String = command_at(url, redis::cmd("CLUSTER").arg("NODES")).await?;
    parse_nodes(&answer)
}

/// The slot of each partition, in the order of the partitions.
///
/// # Errors
/// When Redis does not answer, or is not a node of a cluster.
pub async fn partition_slots(url: &str) -> Result<Vec<u16>> {
    let mut slots = Vec::new();
    for partition in 0..PARTITIONS {
        let tag = format!("{{{partition:02}}}");
        slots.push(command_at(url, redis::cmd("CLUSTER").arg("KEYSLOT").arg(tag)).await?);
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_parsed_with_flags_and_slots() {
        let nodes = parse_nodes(concat!(
            "a1 127.0.0.1:7001@17001,host myself,master - 0 1426238317239 4 connected 0-5460 5462 [93-<-b2]\n",
            "b2 127.0.0.1:7002@17002 master,fail - 1426238316232 1426238316232 2 disconnected 5461\n",
            "c3 127.0.0.1:7003@17003 slave a1 0 1426238318243 4 connected\n",
        ))
        .unwrap();
        assert_eq!((nodes[0].port(), nodes[0].config_epoch), (Some(7001), 4));
        assert_eq!(nodes[0].slots, [0..=5460, 5462..=5462]);
        assert!(nodes[0].owns(5462) && !nodes[0].owns(5461));
        assert_eq!(nodes.iter().map(|node| node.is_reachable).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(nodes[2].master.as_deref(), Some("a1"));
        assert!(parse_nodes("a1 127.0.0.1:7001@17001 master").is_err());
    }
}
