//! The system that the tests of a run share, as one of them may use it: its users over HTTP and WebSocket, and nothing
//! that could disturb another test. Each value has users of its own, see [`UserNames`]. Without a system of the run, as
//! in a plain `cargo test`, the value starts one and keeps it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Stack, StackBuilder, System};
use crate::client::{Client, ClientError};
use crate::http::Http;
use crate::names::UserNames;
use crate::token::Token;

/// The environment variable with the address of the system of a test run, as JSON.
pub const SHARED_SYSTEM: &str = "TIDINGS_TEST_SYSTEM";

/// Rates of the gateways that must not slow the tests. Tests of the rate limits start their own system.
const GATEWAY_RATES: [&str; 8] = [
    "TIDINGS_MESSAGES_PER_SECOND",
    "TIDINGS_MESSAGES_BURST",
    "TIDINGS_JOINS_PER_SECOND",
    "TIDINGS_MARKS_PER_SECOND",
    "TIDINGS_TYPING_PER_SECOND",
    "TIDINGS_SIGNALS_PER_SECOND",
    "TIDINGS_PRESENCE_PER_SECOND",
    "TIDINGS_POLLS_PER_SECOND",
];

/// What a test needs to know of a running system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SystemAddress {
    /// The public ports of the gateways.
    gateways: Vec<u16>,
    /// The public ports of the persistence nodes.
    persistence: Vec<u16>,
    jwt_secret: String,
}

impl SystemAddress {
    pub(crate) fn of(stack: &Stack) -> SystemAddress {
        SystemAddress {
            gateways: stack.gateways().iter().map(|node| node.ports().public).collect(),
            persistence: stack.persistence_nodes().iter().map(|node| node.ports().public).collect(),
            jwt_secret: stack.jwt_secret().to_owned(),
        }
    }
}

/// The shared system: two gateways and one persistence node.
pub(crate) fn builder() -> StackBuilder {
    let builder = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let builder = builder.gateway_env("TIDINGS_SOCKET_IO_NAMESPACES", "/admin");
    GATEWAY_RATES.iter().fold(builder, |builder, name| builder.gateway_env(name, 100_000))
}

/// A node of the shared system.
#[derive(Debug, Clone, Copy)]
pub struct SharedNode {
    port: u16,
}

impl SharedNode {
    /// The port of the public listener.
    pub fn port(self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `ws://127.0.0.1:PORT/v1/ws`
    pub fn ws(self) -> String {
        format!("ws://127.0.0.1:{}/v1/ws", self.port)
    }
}

/// The shared system for one test.
pub struct SharedStack {
    address: SystemAddress,
    names: UserNames,
    /// The system, if it was started for this value.
    _own: Option<Stack>,
}

impl SharedStack {
    /// The system of the run, or a new one.
    ///
    /// # Errors
    /// When the address of the system is malformed, or a new one does not start.
    pub(super) async fn get() -> Result<SharedStack> {
        let names = UserNames::unique();
        match std::env::var(SHARED_SYSTEM) {
            Ok(address) => {
                let address = serde_json::from_str(&address).context(SHARED_SYSTEM)?;
                Ok(SharedStack { address, names, _own: None })
            }
            Err(_) => {
                let own = builder().start().await?;
                Ok(SharedStack { address: SystemAddress::of(&own), names, _own: Some(own) })
            }
        }
    }

    /// The gateway of this number, from 0.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn gateway(&self, number: usize) -> SharedNode {
        SharedNode { port: self.address.gateways[number] }
    }

    /// The persistence node of this number, from 0.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn persistence(&self, number: usize) -> SharedNode {
        SharedNode { port: self.address.persistence[number] }
    }

    /// A token of this test's user.
    pub fn sign(&self, token: Token) -> String {
        self.names.add_to(token).sign(&self.address.jwt_secret)
    }

    /// A valid token of a user.
    pub fn token(&self, user: &str) -> String {
        self.sign(Token::of(user))
    }

    /// A valid token with the admin scope.
    pub fn admin_token(&self, user: &str) -> String {
        self.sign(Token::of(user).scope("tidings.admin"))
    }

    /// A user of the HTTP API, at the first persistence node.
    pub fn http(&self, user: &str) -> Http {
        self.http_at(0, user)
    }

    /// A user of the HTTP API, at the persistence node of this number.
    pub fn http_at(&self, persistence: usize, user: &str) -> Http {
        Http::new(&self.persistence(persistence).url(), &self.token(user))
    }

    /// Connects a user to the first gateway by WebSocket.
    pub async fn connect(&self, user: &str) -> Result<Client, ClientError> {
        self.connect_at(0, user).await
    }

    /// Connects a user by WebSocket to the gateway at this index, from 0.
    pub async fn connect_at(&self, gateway: usize, user: &str) -> Result<Client, ClientError> {
        Client::connect(&self.gateway(gateway).ws(), &self.token(user)).await
    }
}

impl System for SharedStack {
    fn gateway_url(&self, number: usize) -> String {
        self.gateway(number).url()
    }

    fn persistence_url(&self, number: usize) -> String {
        self.persistence(number).url()
    }

    fn sign(&self, token: Token) -> String {
        self.sign(token)
    }
}
