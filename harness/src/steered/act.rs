//! Carries out one order. Returns the fields of the answer besides the id.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::order::{LinkOrder, Order, StackPart, To};
use super::values;
use crate::node::Node;
use crate::proxy;
use crate::stack::{Link, Stack};

pub(super) async fn act(stack: &Stack, order: Order) -> Result<Map<String, Value>> {
    match order {
        Order::Kill { of, number } => kill(stack, of, number)?,
        Order::Pause { of, number } => pause(stack, of, number)?,
        Order::Resume { of, number } => resume(stack, of, number)?,
        Order::Drain { of, number } => drain(stack, of, number).await?,
        Order::Start { of, number } => start(stack, of, number).await?,
        Order::EmptyRedis => stack.redis().restart_empty().await?,
        Order::Link { to, number, weather, delay_ms } => {
            change(stack, to, number, weather, Duration::from_millis(delay_ms))?;
        }
        Order::Sql { query } => return Ok(told("rows", json!(stack.database().query(&query).await?))),
        Order::Redis { command } => {
            let (name, arguments) = command.split_first().context("an empty command")?;
            let command = redis::cmd(name).arg(arguments).clone();
            return Ok(told("value", values::json(stack.redis().command(&command).await?)));
        }
        Order::Metrics { of, number } => {
            return Ok(told("text", json!(node(stack, of, number)?.metrics().await?)));
        }
        Order::Log { of, number } => return Ok(told("text", json!(node(stack, of, number)?.log()?))),
    }
    Ok(Map::new())
}

fn told(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

fn node(stack: &Stack, of: To, number: usize) -> Result<&Node> {
    let nodes = match of {
        To::Gateway => stack.gateways(),
        To::Persistence => stack.persistence_nodes(),
    };
    nodes.get(number).with_context(|| format!("there is no {of:?} {number}"))
}

fn kill(stack: &Stack, of: StackPart, number: usize) -> Result<()> {
    match of {
        StackPart::Gateway => node(stack, To::Gateway, number)?.kill(),
        StackPart::Persistence => node(stack, To::Persistence, number)?.kill(),
        StackPart::Redis => stack.redis().kill(),
        StackPart::Postgres => stack.database().server().kill(),
    }
    Ok(())
}

fn pause(stack: &Stack, of: StackPart, number: usize) -> Result<()> {
    match of {
        StackPart::Gateway => node(stack, To::Gateway, number)?.pause(),
        StackPart::Persistence => node(stack, To::Persistence, number)?.pause(),
        StackPart::Redis => stack.redis().pause(),
        StackPart::Postgres => stack.database().server().pause(),
    }
}

fn resume(stack: &Stack, of: StackPart, number: usize) -> Result<()> {
    match of {
        StackPart::Gateway => node(stack, To::Gateway, number)?.resume(),
        StackPart::Persistence => node(stack, To::Persistence, number)?.resume(),
        StackPart::Redis => stack.redis().resume(),
        StackPart::Postgres => stack.database().server().resume(),
    }
}

async fn drain(stack: &Stack, of: StackPart, number: usize) -> Result<()> {
    match of {
        StackPart::Gateway => node(stack, To::Gateway, number)?.stop().await,
        StackPart::Persistence => node(stack, To::Persistence, number)?.stop().await,
        StackPart::Redis => stack.redis().stop().await,
        StackPart::Postgres => stack.database().server().stop().await,
    }
}

async fn start(stack: &Stack, of: StackPart, number: usize) -> Result<()> {
    match of {
        StackPart::Gateway => node(stack, To::Gateway, number)?.restart().await,
        StackPart::Persistence => node(stack, To::Persistence, number)?.restart().await,
        StackPart::Redis => stack.redis().restart().await,
        StackPart::Postgres => stack.database().server().restart().await,
    }
}

fn change(stack: &Stack, to: To, number: usize, weather: LinkOrder, delay: Duration) -> Result<()> {
    if !stack.is_proxied() {
        bail!("links can be broken only in a system that was started with --proxied");
    }
    let link = match to {
        To::Gateway => Link::ClientsGateway(number),
        To::Persistence => Link::ClientsPersistence(number),
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
