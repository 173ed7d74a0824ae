//! A whole system for tests in another language. It prints a description of itself as one line of JSON, and then
//! carries out one order per input line. Every order gets one answer with the order's id. When the input ends, the
//! system is stopped and removed.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::companion::CompanionNode;
use crate::files::FilesNode;
use crate::push::PushNode;
use crate::stack::{Link, Stack};
use crate::{Node, proxy::Proxy};

mod execute;
mod order;
mod values;

use order::Order;

/// What orders act on.
pub struct SteeredSystem {
    pub stack: Stack,
    pub files: Option<FilesNode>,
    pub push: Option<PushNode>,
}

/// The addresses of all parts; URLs have no path.
#[derive(Debug, Serialize)]
pub struct StackDescription {
    /// URLs of the gateways for clients: through the proxies, if there are any.
    pub gateways: Vec<String>,
    /// URLs of the persistence nodes for clients.
    pub persistence: Vec<String>,
    /// URL of the files service, without a proxy; `None` if there is none. Persistence does not serve its paths.
    pub files: Option<String>,
    /// URL of the push service, without a proxy; `None` if there is none. Persistence does not serve its paths.
    pub push: Option<String>,
    /// URLs of the nodes' own listeners, without the proxies.
    pub direct: DirectUrls,
    /// The secret that signs tokens (HS256).
    pub jwt_secret: String,
    /// URL of Redis, without a proxy.
    pub redis_url: String,
    /// URL of the database, without a proxy.
    pub database_url: String,
}

/// URLs of the nodes' own listeners.
#[derive(Debug, Serialize)]
pub struct DirectUrls {
    /// Public listeners of the gateways.
    pub gateways: Vec<String>,
    /// Public listeners of the persistence nodes.
    pub persistence: Vec<String>,
    /// Admin listeners of the gateways.
    pub gateways_admin: Vec<String>,
    /// Admin listeners of the persistence nodes.
    pub persistence_admin: Vec<String>,
}

impl StackDescription {
    /// Describes a system.
    pub fn of(system: &SteeredSystem) -> StackDescription {
        let stack = &system.stack;
        let urls = |nodes: &[Node]| nodes.iter().map(Node::url).collect::<Vec<_>>();
        let admins = |nodes: &[Node]| nodes.iter().map(Node::admin).collect::<Vec<_>>();
        let (gateways, persistence) = (stack.gateways(), stack.persistence_nodes());
        let direct = DirectUrls {
            gateways: urls(gateways),
            persistence: urls(persistence),
            gateways_admin: admins(gateways),
            persistence_admin: admins(persistence),
        };
        let through = |link: fn(usize) -> Link, count: usize| {
            let proxies = (0..count).filter_map(|number| stack.links().proxy(link(number)));
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
        StackDescription {
            gateways: seen_gateways,
            persistence: seen_persistence,
            files: system.files.as_deref().map(url_of),
            push: system.push.as_deref().map(url_of),
            direct,
            jwt_secret: stack.jwt_secret().to_owned(),
            redis_url: stack.shards().url(),
            database_url: stack.database().url().to_owned(),
        }
    }
}

fn url_of(node: &CompanionNode) -> String {
    format!("http://127.0.0.1:{}", node.public_port())
}

fn origin(proxy: &Proxy) -> String {
    format!("http://127.0.0.1:{}", proxy.port())
}

/// Carries out orders concurrently, and returns when the input ends. If one order depends on another, the caller must
/// wait for the other's answer before it sends the order.
///
/// # Errors
/// When answers cannot be written.
pub async fn run_orders(
    system: SteeredSystem,
    mut orders: mpsc::UnboundedReceiver<String>,
    out: &mut impl Write,
) -> Result<()> {
    let system = Arc::new(system);
    write_line(out, &serde_json::to_value(StackDescription::of(&system))?)?;
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            line = orders.recv() => {
                let Some(line) = line else { return Ok(()) };
                under_way.spawn(answer_order(Arc::clone(&system), line));
            }
            Some(done) = under_way.join_next() => write_line(out, &done?)?,
        }
    }
}

async fn answer_order(system: Arc<SteeredSystem>, line: String) -> Value {
    let id = serde_json::from_str::<Value>(&line).map(|mut line| line["id"].take()).unwrap_or_default();
    let carried = match serde_json::from_str::<Order>(&line) {
        Ok(order) => execute::execute(&system, order).await,
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

fn write_line(out: &mut impl Write, line: &Value) -> Result<()> {
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
