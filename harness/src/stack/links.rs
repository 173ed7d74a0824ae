//! The proxies between the parts of a stack. All traffic that uses the network in production passes one of the proxies,
//! except the traffic to the nodes of a Redis Cluster: these tell their own addresses to clients.

use anyhow::Result;

use crate::node::Node;
use crate::proxy::Proxy;

/// The link between two parts. Nodes have numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// From all gateways to the only Redis.
    GatewaysRedis,
    /// From all persistence nodes to the only Redis.
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
    /// `None` if the stack has a cluster.
    redis: Option<RedisLinks>,
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

/// The proxies in front of the only Redis.
struct RedisLinks {
    gateways: Proxy,
    persistence: Proxy,
}

impl Links {
    /// `redis` is the port of the only Redis; `None` if the stack has a cluster.
    pub(super) async fn start(redis: Option<u16>, postgres: u16) -> Result<Links> {
        let redis = match redis {
            Some(port) => Some(RedisLinks {
                gateways: Proxy::start(port).await?,
                persistence: Proxy::start(port).await?,
            }),
            None => None,
        };
        Ok(Links {
            redis,
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
        let redis = self.redis.as_ref().map(|redis| redis_setting(&redis.persistence));
        let database = ("DATABASE_URL".to_owned(), database_url.replace(&direct, &proxied));
        redis.into_iter().chain([database]).collect()
    }

    pub(super) fn gateway_settings(&self) -> Option<(String, String)> {
        self.redis.as_ref().map(|redis| redis_setting(&redis.gateways))
    }

    /// From all gateways to the only Redis.
    ///
    /// # Panics
    /// When the stack has a cluster.
    pub fn gateways_redis(&self) -> &Proxy {
        &self.only_redis().gateways
    }

    /// From all persistence nodes to the only Redis.
    ///
    /// # Panics
    /// When the stack has a cluster.
    pub fn persistence_redis(&self) -> &Proxy {
        &self.only_redis().persistence
    }

    fn only_redis(&self) -> &RedisLinks {
        self.redis.as_ref().expect("the stack has one Redis: StackBuilder::redis")
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
        let mut all = Vec::new();
        if self.redis.is_some() {
            all.extend([Link::GatewaysRedis, Link::PersistenceRedis]);
        }
        all.push(Link::PersistencePostgres);
        all.extend((0..self.gateways_persistence.len()).map(Link::GatewaysPersistence));
        all.extend((0..self.clients_gateways.len()).map(Link::ClientsGateway));
        all.extend((0..self.clients_persistence.len()).map(Link::ClientsPersistence));
        all
    }

    /// The proxy of a link; `None` if there is no such link.
    pub fn proxy(&self, link: Link) -> Option<&Proxy> {
        match link {
            Link::GatewaysRedis => Some(&self.redis.as_ref()?.gateways),
            Link::PersistenceRedis => Some(&self.redis.as_ref()?.persistence),
            Link::PersistencePostgres => Some(&self.persistence_postgres),
            Link::GatewaysPersistence(number) => self.gateways_persistence.get(number),
            Link::ClientsGateway(number) => self.clients_gateways.get(number),
            Link::ClientsPersistence(number) => self.clients_persistence.get(number),
        }
    }
}

/// The REDIS_URL setting that makes a service connect to Redis through this proxy.
fn redis_setting(proxy: &Proxy) -> (String, String) {
    ("REDIS_URL".to_owned(), format!("redis://127.0.0.1:{}", proxy.port()))
}
