//! `./dev redis move`: moves partitions between the masters of a Redis Cluster: those of `./dev redis plan`, or one. The
//! services keep running; a partition rests while its slot moves.

use anyhow::{Context, Result, ensure};

use super::redis_plan::{ClusterAddress, MovePlan};
use crate::redis::forming::until_owner;
use crate::redis::slot_move::{Master, SlotMove};
use crate::say;

/// A partition that the caller chose, and the address of its new master.
#[derive(Debug, Clone)]
pub struct ChosenMove {
    pub partition: usize,
    pub to: String,
}

/// Moves the chosen partition, or all partitions of the plan. A move that was interrupted is repeated by the same call.
///
/// # Errors
/// When a node does not answer or refuses a step. Finished moves stay.
pub async fn move_partitions(url: &str, chosen: Option<&ChosenMove>) -> Result<()> {
    let address = ClusterAddress::parse(url)?;
    let plan = MovePlan::read(&address).await?;
    let moves: Vec<(usize, usize, usize)> = match chosen {
        None => plan.moves.iter().map(|step| (step.partition, step.from, step.to)).collect(),
        Some(chosen) => {
            let from = *plan.owners.get(chosen.partition).context("there are partitions 0 to 63")?;
            let to = plan.masters.iter().position(|node| node.address == chosen.to);
            let to = to.with_context(|| format!("{} is not the address of a master", chosen.to))?;
            ensure!(from != to, "{} has the partition already", chosen.to);
            vec![(chosen.partition, from, to)]
        }
    };
    let urls: Vec<String> = plan.masters.iter().map(|node| address.url_of(&node.address)).collect();
    for (partition, from, to) in &moves {
        let master = |number: usize| -> Result<Master> {
            let node = &plan.masters[number];
            let (host, port) = node.address.rsplit_once(':').context("an address without a port")?;
            let (host, port) = (host.to_owned(), port.parse::<u16>()?);
            Ok(Master { url: urls[number].clone(), id: node.id.clone(), host, port })
        };
        let (slot, from, to) = (plan.slots[*partition], master(*from)?, master(*to)?);
        let step = SlotMove { slot, from: &from, to: &to };
        step.begin().await?;
        step.finish().await?;
        until_owner(&urls, slot, &to.id).await?;
        say!("partition {partition:02}  slot {slot:>5}  is now at {}:{}", to.host, to.port);
    }
    if moves.is_empty() {
        say!("the shares are equal: nothing is moved");
    }
    Ok(())
}
