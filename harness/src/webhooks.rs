//! The program `tidings-webhooks` as a child process, and receivers of its deliveries.
//! Touches only processes, the network and the folder of a stack.

mod receiver;

use std::ops::Deref;

use anyhow::Result;
use serde_json::{Value, json};

use crate::companion::CompanionNode;
use crate::{Http, Stack};

pub use receiver::{Delivery, Receiver, ReceiverBehaviour, RoomDeliveries};

/// A running replica of the program.
pub struct WebhooksNode {
    node: CompanionNode,
    http: Http,
}

impl WebhooksNode {
    /// Starts a replica for the database of a stack. Endpoints may have private addresses, attempts take at most 2 s, and
    /// pauses are short, unless `settings` say otherwise. Its log is `NAME.log` in the folder of the stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s; with the end of its log.
    pub async fn start(stack: &Stack, name: &str, settings: &[(&str, &str)]) -> Result<WebhooksNode> {
        let mut all = vec![
            ("DATABASE_URL", stack.persistence_database_url()),
            ("TIDINGS_JWT_SECRET", stack.jwt_secret()),
            ("TIDINGS_WEBHOOKS_ALLOW_PRIVATE", "true"),
            ("TIDINGS_WEBHOOKS_TIMEOUT_MS", "2000"),
            ("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.2,0.2,0.5,0.5,1,1,1,1,1"),
        ];
        all.extend(settings);
        let node = CompanionNode::start(stack, "tidings-webhooks", name, &all).await?;
        let http = node.http(&stack.admin_token("operator"));
        Ok(WebhooksNode { node, http })
    }

    /// An admin who uses the API.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Registers an endpoint that begins with the oldest event. `more` are further fields.
    ///
    /// # Errors
    /// When the request fails, or is refused.
    pub async fn register(&self, url: &str, more: Value) -> Result<Value> {
        let mut form = json!({ "url": url, "from": "start" });
        if let (Some(form), Value::Object(more)) = (form.as_object_mut(), more) {
            form.extend(more);
        }
        Ok(self.http.post("/webhooks", form).await?.expect(201).body)
    }
}

impl Deref for WebhooksNode {
    type Target = CompanionNode;

    fn deref(&self) -> &CompanionNode {
        &self.node
    }
}
