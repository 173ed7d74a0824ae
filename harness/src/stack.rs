//! A whole system for one test: its own Redis, its own migrated database, N gateways, M persistence nodes, and clients
//! for its users. Dropping the value stops and removes everything.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::client::{Client, ClientError};
use crate::folder::Folder;
use crate::http::Http;
use crate::node::{self, Node, Ports, Service};
use crate::postgres::{Database, Postgres};
use crate::redis::Redis;
use crate::token::{self, Token};

mod clocks;
mod links;
mod settings;

pub use links::{Link, Links};
use settings::Settings;

/// The numbers of nodes, and their settings.
#[derive(Debug, Clone)]
pub struct StackBuilder {
    gateways: usize,
    persistence: usize,
    own_postgres: bool,
    durable: Option<String>,
    proxied: bool,
    clocks: bool,
    launchers: Vec<(Service, usize, Vec<String>)>,
    gateway_settings: Vec<(String, String)>,
    persistence_settings: Vec<(String, String)>,
}

impl StackBuilder {
    /// How many gateways; default 1.
    #[must_use]
    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// How many persistence nodes; default 1.
    #[must_use]
    pub fn persistence(mut self, count: usize) -> Self {
        self.persistence = count;
        self
    }

    /// With a PostgreSQL of its own, for tests that kill or pause it.
    #[must_use]
    pub fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// With a PostgreSQL of its own that is as durable as in production, with these lines of `postgresql.conf`.
    #[must_use]
    pub fn durable_postgres(self, settings: &str) -> Self {
        StackBuilder { durable: Some(settings.to_owned()), ..self }
    }

    /// With proxies between all parts: see [`Links`].
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Every process gets a clock that can be shifted: see [`crate::WallClock`]; PostgreSQL only if it is not shared.
    #[must_use]
    pub fn clocks(self) -> Self {
        StackBuilder { clocks: true, ..self }
    }

    /// Runs a node, by its number from 0, as the argument of another program, such as `valgrind`.
    #[must_use]
    pub fn under(mut self, service: Service, number: usize, launcher: Vec<String>) -> Self {
        self.launchers.push((service, number, launcher));
        self
    }

    fn launcher(&self, service: Service, number: usize) -> &[String] {
        let of = |(of, at, _): &&(Service, usize, Vec<String>)| *of == service && *at == number;
        self.launchers.iter().find(of).map_or(&[], |(_, _, launcher)| launcher)
    }

    /// A setting of every gateway, by its environment name.
    #[must_use]
    pub fn gateway_env(mut self, name: &str, value: impl ToString) -> Self {
        self.gateway_settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// A setting of every node.
    #[must_use]
    pub fn env(self, name: &str, value: impl ToString) -> Self {
        self.gateway_env(name, value.to_string()).persistence_env(name, value)
    }

    /// A setting of every persistence node, by its environment name.
    #[must_use]
    pub fn persistence_env(mut self, name: &str, value: impl ToString) -> Self {
        self.persistence_settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// When something does not start; says what, with the end of its log.
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
            links = Some(Links::begin(redis.port(), database.server().port()).await?);
        }
        let mut persistence = Vec::new();
        let own = links.as_ref().map_or_else(Vec::new, |links| links.of_persistence(database.url()));
        settings.persistence.extend(own);
        for number in 0..self.persistence {
            let name = format!("persistence-{number}");
            let settings = settings.of(Service::Persistence);
            let launcher = self.launcher(Service::Persistence, number);
            persistence.push(
                Node::start_under(launcher, Service::Persistence, folder.path(), &name, &settings).await?,
            );
        }
        settings.persistence_urls = persistence.iter().map(Node::internal).collect::<Vec<_>>().join(",");
        if let Some(links) = &mut links {
            settings.persistence_urls = links.put_before_persistence(&persistence).await?;
            settings.gateway.extend(links.of_gateways());
        }
        let mut gateways = Vec::new();
        for number in 0..self.gateways {
            let name = format!("gateway-{number}");
            let settings = settings.of(Service::Gateway);
            let launcher = self.launcher(Service::Gateway, number);
            gateways
                .push(Node::start_under(launcher, Service::Gateway, folder.path(), &name, &settings).await?);
        }
        if let Some(links) = &mut links {
            links.put_before_gateways(&gateways).await?;
        }
        Ok(Stack { gateways, persistence, links, redis, database, settings, folder })
    }
}

/// A running system.
pub struct Stack {
    // Fields are dropped in this order: nodes first, then their dependencies, the folder with all logs last.
    gateways: Vec<Node>,
    persistence: Vec<Node>,
    links: Option<Links>,
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
            clocks: false,
            launchers: Vec::new(),
            gateway_settings: Vec::new(),
            persistence_settings: Vec::new(),
        }
    }

    /// Starts one gateway and one persistence node.
    ///
    /// # Errors
    /// As [`StackBuilder::start`].
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

    /// All gateways.
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

    /// All persistence nodes.
    pub fn persistence_nodes(&self) -> &[Node] {
        &self.persistence
    }

    /// Whether it was built with proxies between its parts.
    pub fn is_proxied(&self) -> bool {
        self.links.is_some()
    }

    /// The proxies between its parts.
    ///
    /// # Panics
    /// When it was not built with them.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("built with StackBuilder::proxied")
    }

    /// Its Redis.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Its database.
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

    /// Starts one more persistence node. The gateways that run do not know of it.
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub async fn add_persistence(&mut self, ports: Ports) -> Result<&Node> {
        let name = format!("persistence-{}", self.persistence.len());
        let settings = self.settings.of(Service::Persistence);
        let node = Node::start_on(ports, Service::Persistence, self.folder.path(), &name, &settings).await?;
        self.persistence.push(node);
        self.persistence.last().context("just pushed")
    }

    /// A valid token of this user.
    pub fn token(&self, user: &str) -> String {
        Token::of(user).sign(self.jwt_secret())
    }

    /// A valid token with the admin scope.
    pub fn admin_token(&self, user: &str) -> String {
        Token::of(user).scope("tidings.admin").sign(self.jwt_secret())
    }

    /// This user over HTTP, on the first persistence node.
    pub fn http(&self, user: &str) -> Http {
        self.http_at(0, user)
    }

    /// This user over HTTP, on a persistence node.
    pub fn http_at(&self, persistence: usize, user: &str) -> Http {
        Http::new(&self.persistence[persistence].url(), &self.token(user))
    }

    /// This user over WebSocket, on the first gateway.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn connect(&self, user: &str) -> Result<Client, ClientError> {
        self.connect_at(0, user).await
    }

    /// This user over WebSocket, on a gateway.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn connect_at(&self, gateway: usize, user: &str) -> Result<Client, ClientError> {
        Client::connect(&self.gateways[gateway].ws(), &self.token(user)).await
    }
}

/// Migrates a database with the migrations program.
///
/// # Errors
/// When the program is missing or fails; with what it said.
pub async fn migrate(database_url: &str) -> Result<()> {
    let mut command = Command::new(node::program("tidings-migrations")?);
    let settings = [("DATABASE_URL".to_owned(), database_url.to_owned())];
    node::with_environment(&mut command, &settings);
    let output = tokio::process::Command::from({
        command.arg("up");
        command
    })
    .output()
    .await?;
    ensure!(
        output.status.success(),
        "tidings-migrations up: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
