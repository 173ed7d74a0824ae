//! A whole system for a test that is written in another language: it begins here, is described in one line of JSON,
//! and then does what each line that comes in asks of it. Promises that every order has one answer with its id, and that
//! nothing of the system is left once the orders end.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::stack::{Link, Stack};
use crate::{Node, proxy::Proxy};

mod act;
mod order;
mod values;

use order::Order;

/// Where everything is; origins have no path.
#[derive(Debug, Serialize)]
pub struct Described {
    /// Of the gateways, as clients are to see them: through the proxies, where there are such.
    pub gateways: Vec<String>,
    /// Of the persistence nodes, as clients are to see them.
    pub persistence: Vec<String>,
    /// Of gateways and persistence nodes, around the proxies.
    pub direct: Direct,
    /// Signs tokens (HS256).
    pub jwt_secret: String,
    /// The Redis itself.
    pub redis_url: String,
    /// The database itself.
    pub database_url: String,
}

/// The nodes themselves.
#[derive(Debug, Serialize)]
pub struct Direct {
    /// Public listeners of the gateways.
    pub gateways: Vec<String>,
    /// Public listeners of the persistence nodes.
    pub persistence: Vec<String>,
    /// Admin listeners of the gateways.
    pub gateways_admin: Vec<String>,
    /// Admin listeners of the persistence nodes.
    pub persistence_admin: Vec<String>,
}

impl Described {
    /// This system.
    pub fn of(stack: &Stack) -> Described {
        let urls = |nodes: &[Node]| nodes.iter().map(Node::url).collect::<Vec<_>>();
        let admins = |nodes: &[Node]| nodes.iter().map(Node::admin).collect::<Vec<_>>();
        let (gateways, persistence) = (stack.gateways(), stack.persistence_nodes());
        let direct = Direct {
            gateways: urls(gateways),
            persistence: urls(persistence),
            gateways_admin: admins(gateways),
            persistence_admin: admins(persistence),
        };
        let through = |link: fn(usize) -> Link, many: usize| {
            let proxies = (0..many).filter_map(|number| stack.links().proxy(link(number)));
            proxies.map(origin).collect::<Vec<_>>()
        };
        let (seen_gateways, seen_persistence) = if stack.is_proxied() {
            (
                through(Link::ClientsGateway, gateways.len()),
                through(Link::ClientsPersistence, persistence.len()),
            )
        } else {
            (direct.gateways.clone(), direct.persistence.clone())
        };
        Described {
            gateways: seen_gateways,
            persistence: seen_persistence,
            direct,
            jwt_secret: stack.jwt_secret().to_owned(),
            redis_url: stack.redis().url(),
            database_url: stack.database().url().to_owned(),
        }
    }
}

fn origin(proxy: &Proxy) -> String {
    format!("http://127.0.0.1:{}", proxy.port())
}

/// Carries out what comes in, each order by itself: whoever wants one after the other waits for the answer of the first.
/// Returns when no more can come.
///
/// # Errors
/// When answers cannot be written.
pub async fn obey(
    stack: Stack,
    mut orders: mpsc::UnboundedReceiver<String>,
    out: &mut impl Write,
) -> Result<()> {
    let stack = Arc::new(stack);
    say(out, &serde_json::to_value(Described::of(&stack))?)?;
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            line = orders.recv() => {
                let Some(line) = line else { return Ok(()) };
                under_way.spawn(answer(Arc::clone(&stack), line));
            }
            Some(done) = under_way.join_next() => say(out, &done?)?,
        }
    }
}

async fn answer(stack: Arc<Stack>, line: String) -> Value {
    let id = serde_json::from_str::<Value>(&line).map(|mut line| line["id"].take()).unwrap_or_default();
    let carried = match serde_json::from_str::<Order>(&line) {
        Ok(order) => act::act(&stack, order).await,
        Err(error) => Err(error.into()),
    };
    match carried {
        Ok(mut answer) => {
            answer.insert("id".to_owned(), id);
            answer.insert("ok".to_owned(), Value::Bool(true));
            Value::Object(answer)
        }
        Err(error) => json!({ "id": id, "error": format!("{error:#}") }),
    }
}

fn say(out: &mut impl Write, line: &Value) -> Result<()> {
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
