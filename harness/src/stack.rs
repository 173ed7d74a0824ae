//! A whole system for one test: its own Redis, its own migrated database, N gateways, M persistence nodes, and clients
//! for its users. Dropping the value stops and removes everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::client::{Client, ClientError};
use crate::folder::Folder;
use crate::http::Http;
use crate::node::{Node, Ports, Service};
use crate::postgres::{Database, Postgres};
use crate::redis::Redis;
use crate::request_counter::RequestCounter;
use crate::token::{self, Token};

mod clocks;
mod links;
mod migrations;
mod settings;

pub use links::{Link, Links};
pub use migrations::migrate;
use settings::Settings;

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
    launchers: Vec<(Service, usize, Vec<String>)>,
    gateway_settings: Vec<(String, String)>,
    persistence_settings: Vec<(String, String)>,
}

impl StackBuilder {
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
        let redis = Redis::start_in(folder.path()).await?;
        let server = match (&self.durable, self.own_postgres) {
            (Some(settings), _) => Arc::new(Postgres::start_durable_in(folder.path(), settings).await?),
            (None, true) => Arc::new(Postgres::start_in(folder.path()).await?),
            (None, false) => Postgres::shared().await?,
        };
        let database = server.database().await?;
        migrate(database.url()).await?;

        let mut settings = Settings {
            redis_url: redis.url(),
            database_url: database.url().to_owned(),
            jwt_secret: token::secret(),
            internal_secret: token::secret(),
            persistence_urls: String::new(),
            gateway: self.gateway_settings.clone(),
            persistence: self.persistence_settings.clone(),
        };
        let mut links = None;
        if self.proxied {
            links = Some(Links::start(redis.port(), database.server().port()).await?);
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

/// A running system.
pub struct Stack {
    // Rust drops fields in this order: nodes first, then their dependencies, the folder with all logs last.
    gateways: Vec<Node>,
    persistence: Vec<Node>,
    links: Option<Links>,
    counters: Vec<RequestCounter>,
    redis: Redis,
    database: Database,
    settings: Settings,
    folder: Folder,
}

impl Stack {
    /// A builder; by default one gateway and one persistence node.
    pub fn builder() -> StackBuilder {
        StackBuilder {
            gateways: 1,
            persistence: 1,
            own_postgres: false,
            durable: None,
            proxied: false,
            counted: false,
            clocks: false,
            launchers: Vec::new(),
            gateway_settings: Vec::new(),
            persistence_settings: Vec::new(),
        }
    }

    /// Starts one gateway and one persistence node.
    pub async fn start() -> Result<Stack> {
        Self::builder().start().await
    }

    /// The gateway of this number, from 0.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn gateway(&self, number: usize) -> &Node {
        &self.gateways[number]
    }

    pub fn gateways(&self) -> &[Node] {
        &self.gateways
    }

    /// The persistence node of this number, from 0.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn persistence(&self, number: usize) -> &Node {
        &self.persistence[number]
    }

    pub fn persistence_nodes(&self) -> &[Node] {
        &self.persistence
    }

    /// Whether the stack has proxies between its parts.
    pub fn is_proxied(&self) -> bool {
        self.links.is_some()
    }

    /// The proxies between the parts of the stack.
    ///
    /// # Panics
    /// When the stack has no proxies.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("built with StackBuilder::proxied")
    }

    /// Number of requests of gateways to persistence, by path. Empty without [`StackBuilder::count_internal_requests`].
    pub fn internal_requests(&self) -> BTreeMap<String, u64> {
        let mut requests = BTreeMap::new();
        for (path, count) in self.counters.iter().flat_map(RequestCounter::counts) {
            *requests.entry(path).or_default() += count;
        }
        requests
    }

    /// The stack's Redis.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The stack's database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The secret that signs tokens.
    pub fn jwt_secret(&self) -> &str {
        &self.settings.jwt_secret
    }

    /// The secret of the internal listener.
    pub fn internal_secret(&self) -> &str {
        &self.settings.internal_secret
    }

    /// The folder with the logs.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts one more persistence node. The running gateways send no requests to it.
    ///
    /// # Errors
    /// When the node is not ready in 30 s.
    pub async fn add_persistence(&mut self, ports: Ports) -> Result<&Node> {
        let name = format!("persistence-{}", self.persistence.len());
        let settings = self.settings.for_service(Service::Persistence);
        let node = Node::start_on(ports, Service::Persistence, self.folder.path(), &name, &settings).await?;
        self.persistence.push(node);
        self.persistence.last().context("just pushed")
    }

    /// A valid token of a user.
    pub fn token(&self, user: &str) -> String {
        Token::of(user).sign(self.jwt_secret())
    }

    /// A valid token with the admin scope.
    pub fn admin_token(&self, user: &str) -> String {
        Token::of(user).scope("tidings.admin").sign(self.jwt_secret())
    }

    /// A user of the HTTP API, at the first persistence node.
    pub fn http(&self, user: &str) -> Http {
        self.http_at(0, user)
    }

    /// A user of the HTTP API, at the persistence node of this number.
    pub fn http_at(&self, persistence: usize, user: &str) -> Http {
        Http::new(&self.persistence[persistence].url(), &self.token(user))
    }

    /// Connects a user to the first gateway by WebSocket.
    pub async fn connect(&self, user: &str) -> Result<Client, ClientError> {
        self.connect_at(0, user).await
    }

    /// Connects a user to the gateway of this number by WebSocket.
    pub async fn connect_at(&self, gateway: usize, user: &str) -> Result<Client, ClientError> {
        Client::connect(&self.gateways[gateway].ws(), &self.token(user)).await
    }
}
