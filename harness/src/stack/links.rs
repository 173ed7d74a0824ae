//! The proxies between the parts of a stack. All traffic that uses the network in production passes one of the proxies.

use anyhow::Result;

use crate::node::Node;
use crate::proxy::Proxy;

/// The link between two parts. Nodes have numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// From all gateways to Redis.
    GatewaysRedis,
    /// From all persistence nodes to Redis.
    PersistenceRedis,
    /// From all persistence nodes to PostgreSQL.
    PersistencePostgres,
    /// From all gateways to one persistence node.
    GatewaysPersistence(usize),
    /// From clients to one gateway.
    ClientsGateway(usize),
    /// From clients to one persistence node.
    ClientsPersistence(usize),
}

/// One proxy for each kind of connection and target node.
pub struct Links {
    /// From all gateways to Redis.
    pub gateways_redis: Proxy,
    /// From all persistence nodes to Redis.
    pub persistence_redis: Proxy,
    /// From all persistence nodes to PostgreSQL.
    pub persistence_postgres: Proxy,
    /// From all gateways to each persistence node.
    pub gateways_persistence: Vec<Proxy>,
    /// From clients to each gateway.
    pub clients_gateways: Vec<Proxy>,
    /// From clients to each persistence node.
    pub clients_persistence: Vec<Proxy>,
    postgres: u16,
}

impl Links {
    pub(super) async fn start(redis: u16, postgres: u16) -> Result<Links> {
        Ok(Links {
            gateways_redis: Proxy::start(redis).await?,
            persistence_redis: Proxy::start(redis).await?,
            persistence_postgres: Proxy::start(postgres).await?,
            gateways_persistence: Vec::new(),
            clients_gateways: Vec::new(),
            clients_persistence: Vec::new(),
            postgres,
        })
    }

    pub(super) fn persistence_settings(&self, database_url: &str) -> Vec<(String, String)> {
        let (direct, proxied) =
            (format!(":{}/", self.postgres), format!(":{}/", self.persistence_postgres.port()));
        vec![
            ("REDIS_URL".to_owned(), redis_url(&self.persistence_redis)),
            ("DATABASE_URL".to_owned(), database_url.replace(&direct, &proxied)),
        ]
    }

    pub(super) fn gateway_settings(&self) -> Vec<(String, String)> {
        vec![("REDIS_URL".to_owned(), redis_url(&self.gateways_redis))]
    }

    /// Starts proxies in front of the persistence nodes. Returns the URLs for gateways, separated by commas.
    pub(super) async fn add_persistence_proxies(&mut self, nodes: &[Node]) -> Result<String> {
        let mut urls = Vec::with_capacity(nodes.len());
        for node in nodes {
            let proxy = Proxy::start(node.ports().internal).await?;
            urls.push(format!("http://127.0.0.1:{}", proxy.port()));
            self.gateways_persistence.push(proxy);
            self.clients_persistence.push(Proxy::start(node.ports().public).await?);
        }
        Ok(urls.join(","))
    }

    pub(super) async fn add_gateway_proxies(&mut self, nodes: &[Node]) -> Result<()> {
        for node in nodes {
            self.clients_gateways.push(Proxy::start(node.ports().public).await?);
        }
        Ok(())
    }

    /// All links.
    pub fn all(&self) -> Vec<Link> {
        let mut all = vec![Link::GatewaysRedis, Link::PersistenceRedis, Link::PersistencePostgres];
        all.extend((0..self.gateways_persistence.len()).map(Link::GatewaysPersistence));
        all.extend((0..self.clients_gateways.len()).map(Link::ClientsGateway));
        all.extend((0..self.clients_persistence.len()).map(Link::ClientsPersistence));
        all
    }

    /// The proxy of a link; `None` if there is no node of this number.
    pub fn proxy(&self, link: Link) -> Option<&Proxy> {
        match link {
            Link::GatewaysRedis => Some(&self.gateways_redis),
            Link::PersistenceRedis => Some(&self.persistence_redis),
            Link::PersistencePostgres => Some(&self.persistence_postgres),
            Link::GatewaysPersistence(number) => self.gateways_persistence.get(number),
            Link::ClientsGateway(number) => self.clients_gateways.get(number),
            Link::ClientsPersistence(number) => self.clients_persistence.get(number),
        }
    }
}

fn redis_url(proxy: &Proxy) -> String {
    format!("redis://127.0.0.1:{}", proxy.port())
}
