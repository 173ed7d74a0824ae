//! Replays steps on real processes twice: with all rules of the core, where every promise must hold, and with some
//! rules removed, where a promise must break. A step that fails is an error in both cases.

use anyhow::{Context, Result, ensure};
use tidings_harness::Stack;
use tidings_harness::stack::StackBuilder;
use tidings_shared::sabotage::RULES_VARIABLE;

pub use crate::replay_system::{
    BrokenPromise, FinalAnswer, ReplaySystem, STORE_DEADLINE, WAIT_TIMEOUT, is_transient,
};

/// Maximum number of attempts to break a promise without a rule.
const MAX_ATTEMPTS: usize = 3;

/// How a rule is removed from the services.
#[derive(Debug, Clone, Copy)]
pub enum Removal {
    /// The first text, in a script or an SQL statement, is replaced by the second.
    Text(&'static str, &'static str),
    /// A call of `sabotage::is_removed` names the rule.
    Named(&'static str),
    /// This statement changes the schema before the replay.
    Sql(&'static str),
}

impl Removal {
    /// The removal as the services read it. `None` if the services need not know of it.
    fn encode(&self) -> Option<String> {
        match self {
            Removal::Text(rule, replacement) => Some(format!("{rule}\u{1f}{replacement}")),
            Removal::Named(rule) => Some((*rule).to_owned()),
            Removal::Sql(_) => None,
        }
    }
}

/// Builds a stack of one gateway and one persistence node with short leases.
pub fn small_stack() -> StackBuilder {
    Stack::builder().persistence_env("TIDINGS_LEASE_MS", 1000)
}

/// Replays the steps with all rules and without these, and requires that only the second run breaks a promise.
pub async fn ensure_needed(
    removals: &[Removal],
    builder: StackBuilder,
    replay: impl AsyncFn(&mut ReplaySystem) -> Result<BrokenPromise>,
) -> Result<()> {
    let mut system = ReplaySystem::start(builder.clone()).await?;
    let broken = replay(&mut system).await.context("with all rules")?;
    ensure!(broken.is_none(), "a promise is broken with all rules: {broken:?}");
    drop(system);
    // The order of the steps depends on the speed of the machine, so a promise need not break at the first attempt.
    let mut attempt = Ok(None);
    for _ in 0..MAX_ATTEMPTS {
        attempt = replay_without(removals, builder.clone(), &replay).await;
        if let Ok(Some(broken)) = &attempt {
            eprintln!("without {removals:?}: {broken}");
            return Ok(());
        }
    }
    attempt?;
    anyhow::bail!("nothing breaks without {removals:?}")
}

/// Replays the steps without these rules, and requires that no promise breaks.
pub async fn ensure_redundant(
    removals: &[Removal],
    builder: StackBuilder,
    replay: impl AsyncFn(&mut ReplaySystem) -> Result<BrokenPromise>,
) -> Result<()> {
    let broken = replay_without(removals, builder, replay).await?;
    ensure!(broken.is_none(), "a promise is broken without {removals:?}: {broken:?}");
    Ok(())
}

async fn replay_without(
    removals: &[Removal],
    builder: StackBuilder,
    replay: impl AsyncFn(&mut ReplaySystem) -> Result<BrokenPromise>,
) -> Result<BrokenPromise> {
    let removed: Vec<String> = removals.iter().filter_map(Removal::encode).collect();
    let mut system = ReplaySystem::start(builder.env(RULES_VARIABLE, removed.join("\u{1e}"))).await?;
    for removal in removals {
        if let Removal::Sql(statement) = removal {
            system.stack.database().query(statement).await?;
        }
    }
    let broken = replay(&mut system).await.context("without the rule")?;
    let nodes = system.stack.gateways().iter().chain(system.stack.persistence_nodes());
    let logs = nodes.map(|node| node.log()).collect::<Result<String>>()?;
    ensure!(removed.is_empty() || logs.contains("a rule is removed"), "no process uses {removals:?}");
    Ok(broken)
}
