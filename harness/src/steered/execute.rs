//! Carries out one order. Returns the fields of the answer besides the id.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::order::{LinkOrder, NodeKind, Order, StackPart};
use super::{SteeredSystem, values};
use crate::files::FilesNode;
use crate::node::Node;
use crate::proxy;
use crate::stack::{Link, Stack};

pub(super) async fn execute(system: &SteeredSystem, order: Order) -> Result<Map<String, Value>> {
    let stack = &system.stack;
    match order {
        Order::Kill { of, number } => kill(system, of, number)?,
        Order::Pause { of, number } => pause(system, of, number)?,
        Order::Resume { of, number } => resume(system, of, number)?,
        Order::Drain { of, number } => drain(system, of, number).await?,
        Order::Start { of, number } => start(system, of, number).await?,
        Order::EmptyRedis => stack.shards().restart_empty().await?,
        Order::Link { to, number, weather, delay_ms } => {
            set_link_fault(stack, to, number, weather, Duration::from_millis(delay_ms))?;
        }
        Order::Sql { query } => return Ok(one_field("rows", json!(stack.database().query(&query).await?))),
        Order::Redis { command } => {
            let (name, arguments) = command.split_first().context("an empty command")?;
            let command = redis::cmd(name).arg(arguments).clone();
            return Ok(one_field("value", values::to_json(stack.shards().command(&command).await?)));
        }
        Order::Metrics { of, number } => {
            return Ok(one_field("text", json!(find_node(stack, of, number)?.metrics().await?)));
        }
        Order::Log { of, number } => {
            return Ok(one_field("text", json!(find_node(stack, of, number)?.log()?)));
        }
    }
    Ok(Map::new())
}

fn one_field(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

fn find_node(stack: &Stack, of: NodeKind, number: usize) -> Result<&Node> {
    let nodes = match of {
        NodeKind::Gateway => stack.gateways(),
        NodeKind::Persistence => stack.persistence_nodes(),
    };
    nodes.get(number).with_context(|| format!("there is no {of:?} {number}"))
}

fn find_files(system: &SteeredSystem) -> Result<&FilesNode> {
    system.files.as_ref().context("the system was started without --files")
}

fn kill(system: &SteeredSystem, of: StackPart, number: usize) -> Result<()> {
    let stack = &system.stack;
    match of {
        StackPart::Gateway => find_node(stack, NodeKind::Gateway, number)?.kill(),
        StackPart::Persistence => find_node(stack, NodeKind::Persistence, number)?.kill(),
        StackPart::Redis => stack.shards().kill(),
        StackPart::Postgres => stack.database().server().kill(),
        StackPart::Files => find_files(system)?.kill(),
    }
    Ok(())
}

fn pause(system: &SteeredSystem, of: StackPart, number: usize) -> Result<()> {
    let stack = &system.stack;
    match of {
        StackPart::Gateway => find_node(stack, NodeKind::Gateway, number)?.pause(),
        StackPart::Persistence => find_node(stack, NodeKind::Persistence, number)?.pause(),
        StackPart::Redis => stack.shards().pause(),
        StackPart::Postgres => stack.database().server().pause(),
        StackPart::Files => find_files(system)?.pause(),
    }
}

fn resume(system: &SteeredSystem, of: StackPart, number: usize) -> Result<()> {
    let stack = &system.stack;
    match of {
        StackPart::Gateway => find_node(stack, NodeKind::Gateway, number)?.resume(),
        StackPart::Persistence => find_node(stack, NodeKind::Persistence, number)?.resume(),
        StackPart::Redis => stack.shards().resume(),
        StackPart::Postgres => stack.database().server().resume(),
        StackPart::Files => find_files(system)?.resume(),
    }
}

async fn drain(system: &SteeredSystem, of: StackPart, number: usize) -> Result<()> {
    let stack = &system.stack;
    match of {
        StackPart::Gateway => find_node(stack, NodeKind::Gateway, number)?.stop().await,
        StackPart::Persistence => find_node(stack, NodeKind::Persistence, number)?.stop().await,
        StackPart::Redis => stack.shards().stop().await,
        StackPart::Postgres => stack.database().server().stop().await,
        StackPart::Files => find_files(system)?.stop().await,
    }
}

async fn start(system: &SteeredSystem, of: StackPart, number: usize) -> Result<()> {
    let stack = &system.stack;
    match of {
        StackPart::Gateway => find_node(stack, NodeKind::Gateway, number)?.restart().await,
        StackPart::Persistence => find_node(stack, NodeKind::Persistence, number)?.restart().await,
        StackPart::Redis => stack.shards().restart().await,
        StackPart::Postgres => stack.database().server().restart().await,
        StackPart::Files => find_files(system)?.restart().await,
    }
}

fn set_link_fault(
    stack: &Stack,
    to: NodeKind,
    number: usize,
    weather: LinkOrder,
    delay: Duration,
) -> Result<()> {
    if !stack.is_proxied() {
        bail!("links can be broken only in a system that was started with --proxied");
    }
    let link = match to {
        NodeKind::Gateway => Link::ClientsGateway(number),
        NodeKind::Persistence => Link::ClientsPersistence(number),
    };
    let proxy = stack.links().proxy(link).with_context(|| format!("there is no {to:?} {number}"))?;
    match weather {
        LinkOrder::Cut => proxy.cut(),
        LinkOrder::Reset => proxy.reset(),
        LinkOrder::HalfOpen => proxy.half_open(),
        LinkOrder::BlackHole => proxy.set(proxy::LinkConditions::BLACK_HOLE),
        LinkOrder::Refuse => {
            proxy.set(proxy::LinkConditions { refuses: true, ..proxy::LinkConditions::default() });
            proxy.cut();
        }
        LinkOrder::Delay => proxy.set(proxy::LinkConditions { delay, ..proxy::LinkConditions::default() }),
        LinkOrder::Heal => proxy.heal(),
    }
    Ok(())
}
