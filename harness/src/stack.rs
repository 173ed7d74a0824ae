//! A whole system for one test: its own Redis, its own migrated database, N gateways, M persistence nodes, and clients
//! for its users. Dropping the value stops and removes everything.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::client::{Client, ClientError};
use crate::folder::Folder;
use crate::http::Http;
use crate::node::{Node, Ports, Service};
use crate::postgres::Database;
use crate::redis::{Redis, Shards};
use crate::request_counter::RequestCounter;
use crate::token::Token;

mod builder;
mod clocks;
pub mod for_a_run;
mod links;
mod migrations;
mod settings;
mod shared;
mod system;

pub use builder::StackBuilder;
pub use links::{Link, Links};
pub use migrations::{create_template, migrate, set_feed};
use settings::Settings;
pub use shared::{SHARED_SYSTEM, SharedNode, SharedStack};
pub use system::System;

/// A running system.
pub struct Stack {
    // Rust drops fields in this order: nodes first, then their dependencies, the folder with all logs last.
    gateways: Vec<Node>,
    persistence: Vec<Node>,
    links: Option<Links>,
    counters: Vec<RequestCounter>,
    redis: Shards,
    database: Database,
    settings: Settings,
    folder: Folder,
}

impl Stack {
    /// A builder; by default one gateway and one persistence node.
    pub fn builder() -> StackBuilder {
        StackBuilder::new()
    }

    /// Starts one gateway and one persistence node.
    pub async fn start() -> Result<Stack> {
        Self::builder().start().await
    }

    /// The system that the tests of a run share. A test that breaks, configures or counts something starts its own.
    ///
    /// # Errors
    /// When there is no system of the run, and none can be started.
    pub async fn shared() -> Result<SharedStack> {
        SharedStack::get().await
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

    /// The stack's only Redis, for tests that need exactly one.
    ///
    /// # Panics
    /// When the stack has a cluster.
    pub fn redis(&self) -> &Redis {
        self.redis.single().expect("the stack has one Redis: StackBuilder::redis")
    }

    /// The stack's Redis or cluster.
    pub fn shards(&self) -> &Shards {
        &self.redis
    }

    /// The Redis that owns the partition of a room or user, for faults that concern this shard only.
    ///
    /// # Errors
    /// When no node of the cluster answers.
    pub async fn redis_of(&self, id: &str) -> Result<&Redis> {
        self.redis.of_id(id).await
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

    /// The database URL for companion programs. It leads through the proxy if there is one.
    pub fn persistence_database_url(&self) -> &str {
        let proxied = self.settings.persistence.iter().find(|(name, _)| name == "DATABASE_URL");
        proxied.map_or(self.settings.database_url.as_str(), |(_, url)| url.as_str())
    }

    /// The Redis URL for companion programs. It leads through the proxy if there is one.
    pub fn persistence_redis_url(&self) -> String {
        let proxied = self.settings.persistence.iter().find(|(name, _)| name == "REDIS_URL");
        proxied.map_or_else(|| self.shards().services_url(), |(_, url)| url.clone())
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

    /// Starts all nodes, which must be stopped, again on their ports with another Redis. The present one ends.
    ///
    /// # Errors
    /// When a node is not ready in 30 s.
    pub async fn restart_on(&mut self, redis: Shards) -> Result<()> {
        self.settings.redis_url = redis.services_url();
        self.redis = redis;
        for (name, nodes) in [("persistence", &mut self.persistence), ("gateway", &mut self.gateways)] {
            for (number, node) in nodes.iter_mut().enumerate() {
                let (service, name) = (node.service(), format!("{name}-{number}"));
                let settings = self.settings.for_service(service);
                *node = Node::start_on(node.ports(), service, self.folder.path(), &name, &settings).await?;
            }
        }
        Ok(())
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

impl System for Stack {
    fn gateway_url(&self, number: usize) -> String {
        self.gateway(number).url()
    }

    fn persistence_url(&self, number: usize) -> String {
        self.persistence(number).url()
    }

    fn sign(&self, token: Token) -> String {
        token.sign(self.jwt_secret())
    }
}
