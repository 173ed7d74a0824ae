//! What functions for tests may do with any running system, their own or the shared one.

use crate::client::{Client, ClientError};
use crate::http::Http;
use crate::token::Token;

/// A running system with users over HTTP and WebSocket.
pub trait System: Sync {
    /// The URL of the gateway of this number, from 0, without a path.
    fn gateway_url(&self, number: usize) -> String;

    /// The URL of the persistence node of this number, from 0, without a path.
    fn persistence_url(&self, number: usize) -> String;

    /// Signs a token that the system accepts.
    fn sign(&self, token: Token) -> String;

    /// A valid token of a user.
    fn token(&self, user: &str) -> String {
        self.sign(Token::of(user))
    }

    /// A valid token with the admin scope.
    fn admin_token(&self, user: &str) -> String {
        self.sign(Token::of(user).scope("tidings.admin"))
    }

    /// A user of the HTTP API, at the first persistence node.
    fn http(&self, user: &str) -> Http {
        Http::new(&self.persistence_url(0), &self.token(user))
    }

    /// Connects a user to the first gateway by WebSocket.
    fn connect(&self, user: &str) -> impl Future<Output = Result<Client, ClientError>> + Send {
        self.connect_at(0, user)
    }

    /// Connects a user to the gateway of this number by WebSocket.
    fn connect_at(
        &self,
        gateway: usize,
        user: &str,
    ) -> impl Future<Output = Result<Client, ClientError>> + Send {
        self.connect_with(gateway, Token::of(user))
    }

    /// Signs the token, and connects with it to the gateway at this index, from 0.
    fn connect_with(
        &self,
        gateway: usize,
        token: Token,
    ) -> impl Future<Output = Result<Client, ClientError>> + Send {
        let (url, token) = (self.gateway_url(gateway).replacen("http", "ws", 1), self.sign(token));
        async move { Client::connect(&format!("{url}/v1/ws"), &token).await }
    }
}
