//! `./dev redis plan`: which partitions must move so that each master of a Redis Cluster has an equal share. Reads the
//! cluster and changes nothing.

use std::cmp::Reverse;

use anyhow::{Context, Result};

use crate::redis::cluster_nodes::{ClusterNode, known_nodes, partition_slots};
use crate::say;

/// A partition to move. Masters are numbered in the order of [`MovePlan::masters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) partition: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The masters of a cluster, and the moves after which they have equal shares.
pub(super) struct MovePlan {
    pub(super) masters: Vec<ClusterNode>,
    /// The slot of each partition.
    pub(super) slots: Vec<u16>,
    /// The master of each partition.
    pub(super) owners: Vec<usize>,
    pub(super) moves: Vec<Move>,
}

/// The URL of a cluster, which may name several nodes: `redis://` or `redis+cluster://`.
pub(super) struct ClusterAddress {
    /// Everything before the first host: scheme, user and password.
    prefix: String,
    hosts: Vec<String>,
}

impl ClusterAddress {
    pub(super) fn parse(url: &str) -> Result<ClusterAddress> {
        let (scheme, rest) = url.split_once("://").context("not a URL: redis://HOST:PORT")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let hosts_at = authority.rfind('@').map_or(0, |at| at + 1);
        let (user, hosts) = authority.split_at(hosts_at);
        let scheme = scheme.strip_suffix("+cluster").unwrap_or(scheme);
        let hosts = hosts.split(',').map(str::to_owned).collect();
        Ok(ClusterAddress { prefix: format!("{scheme}://{user}"), hosts })
    }

    /// The URL of the node with this host and port.
    pub(super) fn url_of(&self, address: &str) -> String {
        format!("{}{address}", self.prefix)
    }
}

impl MovePlan {
    /// Asks the first node of the URL that answers.
    ///
    /// # Errors
    /// When no node answers, a node is not in cluster mode, or a partition has no owner.
    pub(super) async fn read(address: &ClusterAddress) -> Result<MovePlan> {
        let mut answer = Err(anyhow::anyhow!("the URL names no host"));
        for host in &address.hosts {
            let url = address.url_of(host);
            answer = known_nodes(&url).await.map(|nodes| (url, nodes));
            if answer.is_ok() {
                break;
            }
        }
        let (url, mut masters) = answer?;
        let slots = partition_slots(&url).await?;
        masters.retain(|node| node.master.is_none() && (node.is_reachable || !node.slots.is_empty()));
        masters.sort_by(|one, other| one.address.cmp(&other.address));
        let mut owners = Vec::new();
        for (partition, slot) in slots.iter().enumerate() {
            let owner = masters.iter().position(|node| node.owns(*slot));
            owners.push(owner.with_context(|| format!("nobody owns partition {partition:02}, slot {slot}"))?);
        }
        let moves = plan(&owners, masters.len());
        Ok(MovePlan { masters, slots, owners, moves })
    }
}

/// Prints the share of each master of the cluster with this URL, and the moves.
///
/// # Errors
/// When Redis does not answer, is not a node of a cluster, or does not know an owner of each partition.
pub async fn print_plan(url: &str) -> Result<()> {
    let MovePlan { masters, slots, owners, moves } = MovePlan::read(&ClusterAddress::parse(url)?).await?;
    for (number, node) in masters.iter().enumerate() {
        let now = owners.iter().filter(|owner| **owner == number).count();
        let after = now + count(&moves, |step| step.to == number) - count(&moves, |step| step.from == number);
        say!("{:<22} {now:>2} partitions, {after:>2} after the moves", node.address);
    }
    for Move { partition, from, to } in &moves {
        let (from, to) = (&masters[*from].address, &masters[*to].address);
        say!("partition {partition:02}  slot {:>5}  {from} -> {to}", slots[*partition]);
    }
    Ok(())
}

fn count(moves: &[Move], is_counted: impl Fn(&Move) -> bool) -> usize {
    moves.iter().filter(|step| is_counted(step)).count()
}

/// The smallest number of moves after which the shares of two masters differ by at most one. `owners` is the master of
/// each partition.
fn plan(owners: &[usize], masters: usize) -> Vec<Move> {
    let mut counts = vec![0; masters];
    owners.iter().for_each(|owner| counts[*owner] += 1);
    let mut largest_first: Vec<usize> = (0..masters).collect();
    largest_first.sort_by_key(|master| Reverse(counts[*master]));
    let mut shares = vec![owners.len() / masters; masters];
    // Masters that have the most keep one more, which saves moves.
    for master in largest_first.into_iter().take(owners.len() % masters) {
        shares[master] += 1;
    }
    let mut moves = Vec::new();
    for (partition, from) in owners.iter().copied().enumerate() {
        let to = (0..masters).find(|master| counts[*master] < shares[*master]);
        if let (Some(to), true) = (to, counts[from] > shares[from]) {
            counts[from] -= 1;
            counts[to] += 1;
            moves.push(Move { partition, from, to });
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::partition_of;

    fn counts_after(owners: &[usize], masters: usize) -> (usize, Vec<usize>) {
        let (mut owners, moves) = (owners.to_vec(), plan(owners, masters));
        for Move { partition, from, to } in &moves {
            assert_eq!(std::mem::replace(&mut owners[*partition], *to), *from);
        }
        let count = |master| owners.iter().filter(|owner| **owner == master).count();
        (moves.len(), (0..masters).map(count).collect())
    }

    #[test]
    fn cluster_address_keeps_user_and_password_of_all_nodes() {
        let address = ClusterAddress::parse("rediss+cluster://u:a,b@h1:1,h2:2/0").unwrap();
        assert_eq!(address.hosts, ["h1:1", "h2:2"]);
        assert_eq!(address.url_of("h3:3"), "rediss://u:a,b@h3:3");
        assert_eq!(ClusterAddress::parse("redis://h:1").unwrap().url_of("h:1"), "redis://h:1");
        assert!(ClusterAddress::parse("h:1").is_err());
    }

    #[test]
    fn plan_equalizes_shares_with_fewest_moves() {
        assert_eq!(counts_after(&[0; 64], 1), (0, vec![64]));
        assert_eq!(counts_after(&[0; 64], 3), (42, vec![22, 21, 21]));
        let uneven: Vec<usize> = (0..64).map(|partition| usize::from(partition >= 41)).collect();
        assert_eq!(counts_after(&uneven, 3), (21, vec![22, 21, 21]));
        let even: Vec<usize> = (0..64).map(|partition| partition % 3).collect();
        assert_eq!(counts_after(&even, 3).0, 0);
        assert_eq!(counts_after(&even, 64), (61, vec![1; 64]));
    }

    /// The load of the busiest master after the plan, in percent of an equal share. `loads[i]` is the load of partition
    /// `i`.
    fn busiest_percent(loads: &[usize], masters: usize) -> usize {
        let mut owners = vec![0_usize; loads.len()];
        for Move { partition, to, .. } in plan(&owners, masters) {
            owners[partition] = to;
        }
        let mut sums = vec![0_usize; masters];
        loads.iter().zip(&owners).for_each(|(load, owner)| sums[*owner] += *load);
        let busiest = sums.into_iter().max().unwrap_or_default();
        busiest * masters * 100 / loads.iter().sum::<usize>()
    }

    #[test]
    fn equal_rooms_load_masters_within_15_percent() {
        const ROOMS: u128 = 10_000;
        /// With this load, one room has 5 % of the load of all rooms.
        const BUSY_ROOM: usize = 526;
        // An odd multiplier, so that all ids differ and their digits look random.
        let id = |number: u128| {
            uuid::Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_string()
        };
        let mut loads = vec![0_usize; 64];
        for number in 0..ROOMS {
            loads[usize::from(partition_of(&id(number)))] += 1;
        }
        let mut with_busy_room = loads.clone();
        with_busy_room[usize::from(partition_of(&id(0)))] += BUSY_ROOM;
        for masters in [1, 3, 6, 16, 32] {
            let (equal, busy) = (busiest_percent(&loads, masters), busiest_percent(&with_busy_room, masters));
            eprintln!("{masters} masters: the busiest has {equal} % of its share, {busy} % with a busy room");
            assert!(masters > 6 || equal <= 115, "{masters} masters: {equal} %");
            // At least the room's own share.
            assert!(busy >= equal.max(5 * masters), "{masters} masters: {busy} %");
        }
    }
}
