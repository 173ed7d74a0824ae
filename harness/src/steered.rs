//! A whole system for tests in another language: it starts, prints a description as one line of JSON, and then obeys
//! one order per input line. Guarantees that every order gets one answer with its id, and that nothing of the system
//! remains when the input ends.

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

/// The addresses of all parts; URLs have no path.
#[derive(Debug, Serialize)]
pub struct Described {
    /// URLs of the gateways for clients: through the proxies, if there are any.
    pub gateways: Vec<String>,
    /// URLs of the persistence nodes for clients.
    pub persistence: Vec<String>,
    /// URLs of gateways and persistence nodes without the proxies.
    pub direct: Direct,
    /// Signs tokens (HS256).
    pub jwt_secret: String,
    /// URL of Redis, without a proxy.
    pub redis_url: String,
    /// URL of the database, without a proxy.
    pub database_url: String,
}

/// The nodes without proxies.
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
    /// Describes a stack.
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

/// Carries out orders concurrently: a caller that needs an order waits for the previous answer. Returns when the input
/// ends.
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
