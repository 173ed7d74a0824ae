//! Which Redis process serves each partition: one process serves all, or each master of a Redis Cluster some. Computes
//! the slot of a partition, and reads the owners from the answer to CLUSTER SLOTS. An answer that breaks a rule of the
//! protocol is refused as a whole.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use redis::Value;
use thiserror::Error;

use super::{
    keys::{PARTITIONS, Partition, PartitionSet},
    layout::Layout,
};

/// Number of slots of every cluster.
const SLOTS: u16 = 16_384;
/// Maximum number of nodes in one range of an answer. Redis recommends at most 1,000 nodes in a cluster.
const MAX_NODES: usize = 1000;
/// Maximum length of a host name, as in DNS.
const MAX_HOST_BYTES: usize = 255;

/// Why an answer to CLUSTER SLOTS cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid answer to CLUSTER SLOTS: {0}")]
pub struct ShardMapError(&'static str);

/// The address of a node for clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddress {
    pub host: Arc<str>,
    pub port: u16,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The masters of all partitions, as one node of the cluster knows them, or the one Redis without a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    layout: Layout,
    /// In the order of the partitions. `None` if the slot has no owner, or the owner's host is unknown.
    masters: Vec<Option<NodeAddress>>,
}

/// The value of the metric label `shard`: the address of the master, or `none` for partitions without a master.
pub fn shard_label(master: Option<&NodeAddress>) -> String {
    master.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// The slot of a hash tag: its CRC16 (XMODEM) modulo the number of slots.
pub fn slot_of(tag: &str) -> u16 {
    let shift = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc =
        tag.bytes().fold(0_u16, |crc, byte| (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| shift(crc)));
    crc % SLOTS
}

/// The partition whose slot this is, or `None` if the slot belongs to no partition.
pub(super) fn partition_of_slot(slot: u16) -> Option<Partition> {
    PARTITION_SLOTS
        .iter()
        .zip(Partition::all())
        .find_map(|(own, partition)| (*own == slot).then_some(partition))
}

/// The slots of all partitions, in their order.
static PARTITION_SLOTS: LazyLock<Vec<u16>> =
    LazyLock::new(|| Partition::all().map(|partition| slot_of(&format!("{:02}", partition.0))).collect());

impl ShardMap {
    /// The map of a Redis that is not a cluster: it serves all partitions.
    pub fn single(address: NodeAddress) -> Self {
        Self { layout: Layout::Single, masters: vec![Some(address); usize::from(PARTITIONS)] }
    }

    /// Reads an answer to CLUSTER SLOTS. `asked_host` is the host that was asked. A node that does not know its own
    /// host leaves it out, and then it is this host.
    pub fn parse(answer: &Value, asked_host: &str) -> Result<Self, ShardMapError> {
        let Value::Array(ranges) = answer else { return Err(ShardMapError("not an array")) };
        if ranges.len() > usize::from(SLOTS) {
            return Err(ShardMapError("more ranges than slots"));
        }
        let slots = &*PARTITION_SLOTS;
        let (mut masters, mut is_owned) = (vec![None; slots.len()], vec![false; slots.len()]);
        for range in ranges {
            let (first, last, master) = parse_range(range, asked_host)?;
            for (index, _) in slots.iter().enumerate().filter(|(_, slot)| (first..=last).contains(*slot)) {
                if is_owned[index] {
                    return Err(ShardMapError("two owners of one slot"));
                }
                is_owned[index] = true;
                masters[index] = master.clone();
            }
        }
        Ok(Self { layout: Layout::Cluster, masters })
    }

    /// The address of the partition's master. `None` if nobody owns the slot, or the owner's host is unknown.
    pub fn master(&self, partition: Partition) -> Option<&NodeAddress> {
        self.masters.get(usize::from(partition.0))?.as_ref()
    }

    /// Whether the map is that of a cluster.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The addresses of all masters, each once, in ascending order.
    pub fn addresses(&self) -> Vec<NodeAddress> {
        let mut addresses: Vec<NodeAddress> = self.masters.iter().flatten().cloned().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The partitions whose master has this address.
    pub fn partitions_of(&self, address: &NodeAddress) -> PartitionSet {
        Partition::all().filter(|partition| self.master(*partition) == Some(address)).collect()
    }
}

/// Reads one range: the first slot, the last slot, the master, and any number of replicas.
fn parse_range(range: &Value, asked_host: &str) -> Result<(u16, u16, Option<NodeAddress>), ShardMapError> {
    let Value::Array(fields) = range else { return Err(ShardMapError("a range that is not an array")) };
    let [Value::Int(first), Value::Int(last), master, replicas @ ..] = fields.as_slice() else {
        return Err(ShardMapError("a range without slots or master"));
    };
    if replicas.len() >= MAX_NODES {
        return Err(ShardMapError("a range with too many nodes"));
    }
    let slot = |number: &i64| u16::try_from(*number).ok().filter(|slot| *slot < SLOTS);
    let (Some(first), Some(last)) = (slot(first), slot(last)) else {
        return Err(ShardMapError("a slot with a number that is too large"));
    };
    if first > last {
        return Err(ShardMapError("a range that ends before it begins"));
    }
    Ok((first, last, parse_node(master, asked_host)?))
}

/// Reads the address of a node: the host and the port, followed by fields that are not needed. `?` is a host that the
/// asked node does not know.
fn parse_node(node: &Value, asked_host: &str) -> Result<Option<NodeAddress>, ShardMapError> {
    let Value::Array(fields) = node else { return Err(ShardMapError("a node that is not an array")) };
    let [host, Value::Int(port), ..] = fields.as_slice() else {
        return Err(ShardMapError("a node without host or port"));
    };
    let host: &str = match host {
        Value::Nil => "",
        Value::BulkString(bytes) => {
            str::from_utf8(bytes).map_err(|_| ShardMapError("a host that is not a text"))?
        }
        Value::SimpleString(text) => text,
        _ => return Err(ShardMapError("a host that is not a text")),
    };
    if host.len() > MAX_HOST_BYTES {
        return Err(ShardMapError("a host name that is too long"));
    }
    let port = u16::try_from(*port).ok().filter(|port| *port > 0).ok_or(ShardMapError("an invalid port"))?;
    let host = if host.is_empty() { asked_host } else { host };
    Ok((host != "?").then(|| NodeAddress { host: host.into(), port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host), node(text("10.0.0.9"))])
    }

    fn parse(ranges: Vec<Value>) -> Result<ShardMap, ShardMapError> {
        ShardMap::parse(&Value::Array(ranges), "redis-1")
    }

    #[test]
    fn slots_match_the_cluster_specification() {
        // The vector of the specification is the CRC itself, which is below the number of slots.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!((slot_of(""), slot_of("foo"), slot_of("07")), (0, 12_182, 801));
        let mut slots: Vec<u16> = (0..64).map(|partition| slot_of(&format!("{partition:02}"))).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 64);
    }

    #[test]
    fn owners_are_read_with_missing_and_unknown_hosts() {
        let map = parse(vec![
            range(0, 800, Value::Nil, 7001),
            range(801, 801, text("10.0.0.2"), 7002),
            range(802, 8000, text(""), 7003),
            range(8001, 16_000, text("?"), 7004),
        ])
        .unwrap();
        let host_and_port = |partition: Partition| {
            map.master(partition).map(|address| (address.host.to_string(), address.port))
        };
        for partition in Partition::all() {
            let expected = match slot_of(&format!("{:02}", partition.0)) {
                ..=800 => Some(("redis-1".to_owned(), 7001)),
                801 => Some(("10.0.0.2".to_owned(), 7002)),
                802..=8000 => Some(("redis-1".to_owned(), 7003)),
                _ => None,
            };
            assert_eq!(host_and_port(partition), expected, "{partition:?}");
        }
        assert_eq!(parse(Vec::new()).unwrap().master(Partition(0)), None);
    }

    #[test]
    fn map_lists_each_master_with_its_partitions() {
        let map = parse(vec![
            range(0, 801, text("10.0.0.2"), 7001),
            range(802, 8000, text("10.0.0.1"), 7001),
            range(8001, 16_383, text("10.0.0.2"), 7001),
        ])
        .unwrap();
        let addresses = map.addresses();
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            (texts, map.layout()),
            (vec!["10.0.0.1:7001".into(), "10.0.0.2:7001".into()], Layout::Cluster)
        );
        let sizes = addresses.iter().map(|address| map.partitions_of(address).iter().count());
        assert_eq!(sizes.sum::<usize>(), 64);
        assert!(map.partitions_of(&addresses[1]).contains(Partition(7)), "the slot of {{07}} is 801");
        assert_eq!((partition_of_slot(801), partition_of_slot(802)), (Some(Partition(7)), None));
        let single = ShardMap::single(NodeAddress { host: "::1".into(), port: 6379 });
        assert_eq!(
            (single.layout(), single.addresses()[0].to_string()),
            (Layout::Single, "[::1]:6379".into())
        );
        assert_eq!(single.partitions_of(&single.addresses()[0]), PartitionSet::ALL);
    }

    #[test]
    fn answers_that_break_the_protocol_are_refused() {
        let valid = || range(0, 16_383, text("10.0.0.1"), 7001);
        assert!(parse(vec![valid()]).is_ok());
        let long = "a".repeat(MAX_HOST_BYTES + 1);
        let mut crowded = vec![Value::Int(0), Value::Int(16_383)];
        crowded.extend(vec![Value::Array(vec![text("10.0.0.1"), Value::Int(7001)]); MAX_NODES + 1]);
        let invalid = [
            vec![valid(); usize::from(SLOTS) + 1],
            vec![valid(), range(801, 801, text("10.0.0.2"), 7002)],
            vec![range(0, 16_384, text("10.0.0.1"), 7001)],
            vec![range(-1, 5, text("10.0.0.1"), 7001)],
            vec![range(5, 4, text("10.0.0.1"), 7001)],
            vec![range(0, 5, text("10.0.0.1"), 0)],
            vec![range(0, 5, text("10.0.0.1"), 65_536)],
            vec![range(0, 5, text(&long), 7001)],
            vec![range(0, 5, Value::BulkString(vec![0xff]), 7001)],
            vec![range(0, 5, Value::Int(1), 7001)],
            vec![Value::Array(crowded)],
            vec![Value::Array(vec![Value::Int(0), Value::Int(5)])],
            vec![Value::Nil],
        ];
        for (number, ranges) in invalid.into_iter().enumerate() {
            assert!(parse(ranges).is_err(), "answer {number}");
        }
        assert!(ShardMap::parse(&Value::Okay, "redis-1").is_err());
    }
}
