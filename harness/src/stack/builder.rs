//! Describes a stack, and starts it: Redis and PostgreSQL first, then migrations, persistence and gateways.

use std::sync::Arc;

use anyhow::Result;

use super::migrations::migrated_database;
use super::settings::Settings;
use super::{Links, Stack, clocks};
use crate::folder::Folder;
use crate::node::{Node, Service};
use crate::postgres::Postgres;
use crate::redis::{Redis, RedisTopology, Shards};
use crate::request_counter::RequestCounter;
use crate::token;

/// Describes a stack to start: the numbers of nodes, their settings, and what stands between them.
#[derive(Debug, Clone)]
pub struct StackBuilder {
    gateways: usize,
    persistence: usize,
    own_postgres: bool,
    durable: Option<String>,
    proxied: bool,
    counted: bool,
    clocks: bool,
    redis: Option<RedisTopology>,
    launchers: Vec<(Service, usize, Vec<String>)>,
    gateway_settings: Vec<(String, String)>,
    persistence_settings: Vec<(String, String)>,
}

impl StackBuilder {
    /// One gateway, one persistence node and a shared PostgreSQL.
    pub(super) fn new() -> StackBuilder {
        StackBuilder {
            gateways: 1,
            persistence: 1,
            own_postgres: false,
            durable: None,
            proxied: false,
            counted: false,
            clocks: false,
            redis: None,
            launchers: Vec::new(),
            gateway_settings: Vec::new(),
            persistence_settings: Vec::new(),
        }
    }

    /// Sets the number of gateways; the default is 1.
    #[must_use]
    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// Sets the number of persistence nodes; the default is 1.
    #[must_use]
    pub fn persistence(mut self, count: usize) -> Self {
        self.persistence = count;
        self
    }

    /// Gives the stack its own PostgreSQL, for tests that kill or pause the server.
    #[must_use]
    pub fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// Gives the stack its own PostgreSQL, as durable as in production and with these lines of `postgresql.conf`.
    #[must_use]
    pub fn durable_postgres(self, settings: &str) -> Self {
        StackBuilder { durable: Some(settings.to_owned()), ..self }
    }

    /// Puts proxies between all parts: see [`Links`].
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Puts request counters in front of persistence: see [`Stack::internal_requests`].
    #[must_use]
    pub fn count_internal_requests(self) -> Self {
        StackBuilder { counted: true, ..self }
    }

    /// Gives every process a clock that can be shifted: see [`crate::WallClock`]. A shared PostgreSQL gets none.
    #[must_use]
    pub fn clocks(self) -> Self {
        StackBuilder { clocks: true, ..self }
    }

    /// Chooses the Redis of the stack. The default is the topology that the environment asks for, and one Redis for a
    /// stack with proxies or clocks: the links to a cluster have no proxies, and its nodes no clocks.
    #[must_use]
    pub fn redis(self, topology: RedisTopology) -> Self {
        StackBuilder { redis: Some(topology), ..self }
    }

    /// Runs the node of this number, from 0, under another program, such as `valgrind`. `launcher` is this program with
    /// its arguments.
    #[must_use]
    pub fn under(mut self, service: Service, number: usize, launcher: Vec<String>) -> Self {
        self.launchers.push((service, number, launcher));
        self
    }

    fn launcher(&self, service: Service, number: usize) -> &[String] {
        let of = |(of, at, _): &&(Service, usize, Vec<String>)| *of == service && *at == number;
        self.launchers.iter().find(of).map_or(&[], |(_, _, launcher)| launcher)
    }

    /// Sets an environment variable of every gateway.
    #[must_use]
    pub fn gateway_env(mut self, name: &str, value: impl ToString) -> Self {
        self.gateway_settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets an environment variable of every node.
    #[must_use]
    pub fn env(self, name: &str, value: impl ToString) -> Self {
        self.gateway_env(name, value.to_string()).persistence_env(name, value)
    }

    /// Sets an environment variable of every persistence node.
    #[must_use]
    pub fn persistence_env(mut self, name: &str, value: impl ToString) -> Self {
        self.persistence_settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// When a part does not start; with its name and the end of its log.
    pub async fn start(self) -> Result<Stack> {
        let folder = Folder::new()?;
        if self.clocks {
            clocks::prepare(folder.path(), self.gateways, self.persistence)?;
        }
        let topology = match self.redis {
            Some(topology) => topology,
            None if self.proxied || self.clocks => RedisTopology::Single,
            None => RedisTopology::from_environment()?,
        };
        let redis = Shards::start_in(folder.path(), topology).await?;
        let server = match (&self.durable, self.own_postgres) {
            (Some(settings), _) => Arc::new(Postgres::start_durable_in(folder.path(), settings).await?),
            (None, true) => Arc::new(Postgres::start_in(folder.path()).await?),
            (None, false) => Postgres::shared().await?,
        };
        let database = migrated_database(&server).await?;

        let mut settings = Settings {
            redis_url: redis.services_url(),
            database_url: database.url().to_owned(),
            jwt_secret: token::secret(),
            internal_secret: token::secret(),
            persistence_urls: String::new(),
            gateway: self.gateway_settings.clone(),
            persistence: self.persistence_settings.clone(),
        };
        let mut links = None;
        if self.proxied {
            let port = redis.single().map(Redis::port);
            links = Some(Links::start(port, database.server().port()).await?);
        }
        let mut persistence = Vec::new();
        let own = links.as_ref().map_or_else(Vec::new, |links| links.persistence_settings(database.url()));
        settings.persistence.extend(own);
        for number in 0..self.persistence {
            let name = format!("persistence-{number}");
            let settings = settings.for_service(Service::Persistence);
            let launcher = self.launcher(Service::Persistence, number);
            persistence.push(
                Node::start_under(launcher, Service::Persistence, folder.path(), &name, &settings).await?,
            );
        }
        settings.persistence_urls = persistence.iter().map(Node::internal).collect::<Vec<_>>().join(",");
        if let Some(links) = &mut links {
            settings.persistence_urls = links.add_persistence_proxies(&persistence).await?;
            settings.gateway.extend(links.gateway_settings());
        }
        let mut counters = Vec::new();
        if self.counted {
            for node in &persistence {
                counters.push(RequestCounter::start(node.ports().internal).await?);
            }
            settings.persistence_urls =
                counters.iter().map(RequestCounter::url).collect::<Vec<_>>().join(",");
        }
        let mut gateways = Vec::new();
        for number in 0..self.gateways {
            let name = format!("gateway-{number}");
            let settings = settings.for_service(Service::Gateway);
            let launcher = self.launcher(Service::Gateway, number);
            gateways
                .push(Node::start_under(launcher, Service::Gateway, folder.path(), &name, &settings).await?);
        }
        if let Some(links) = &mut links {
            links.add_gateway_proxies(&gateways).await?;
        }
        Ok(Stack { gateways, persistence, links, counters, redis, database, settings, folder })
    }
}
