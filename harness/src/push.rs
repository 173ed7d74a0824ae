//! The program `tidings-push` as a child process, browsers that get its notifications, and the push services of apps.
//! The push service of a browser is a [`crate::webhooks::Receiver`]. Touches only processes, the network and the folder
//! of a stack.

mod app_service;
mod browser;

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::companion::CompanionNode;
use crate::{Http, Stack};

pub use app_service::{AppRequest, AppService, RECEIPTS};
pub use browser::Browser;

/// The variable that removes rules of a program, as `tidings_shared::sabotage` names it.
const RULES_VARIABLE: &str = "TIDINGS_SABOTAGE_RULES";
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A private key for Web Push, of tests only.
const VAPID_KEY: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
/// The public key of [`VAPID_KEY`].
pub const VAPID_PUBLIC_KEY: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

/// A running replica of the program.
pub struct PushNode(CompanionNode);

impl PushNode {
    /// Starts a replica for a stack, which reads the feed from now on. Endpoints may have any port of 127.0.0.1, and
    /// pauses are short, unless `settings` say otherwise. Its log is `NAME.log` in the folder of the stack.
    ///
    /// # Errors
    /// When the program is missing, or it does not begin in 30 s; with the end of its log.
    pub async fn start(stack: &Stack, name: &str, settings: &[(&str, &str)]) -> Result<PushNode> {
        let redis = stack.persistence_redis_url();
        let mut all = vec![
            ("DATABASE_URL", stack.persistence_database_url()),
            ("REDIS_URL", redis.as_str()),
            ("TIDINGS_JWT_SECRET", stack.jwt_secret()),
            ("TIDINGS_PUSH_VAPID_KEY", VAPID_KEY),
            ("TIDINGS_PUSH_VAPID_SUBJECT", "mailto:ops@example.org"),
            ("TIDINGS_PUSH_ALLOW_PRIVATE", "true"),
            ("TIDINGS_PUSH_ENDPOINT_HOSTS", "127.0.0.1"),
            ("TIDINGS_PUSH_TIMEOUT_MS", "2000"),
            ("TIDINGS_PUSH_DELAY_MS", "300"),
            ("TIDINGS_PUSH_REQUESTS_PER_SECOND", "1000"),
        ];
        // Passed on, so that each test can be seen to fail without a rule.
        let removed_rules = std::env::var(RULES_VARIABLE).unwrap_or_default();
        all.push((RULES_VARIABLE, &removed_rules));
        all.extend(settings);
        let node = CompanionNode::start(stack, "tidings-push", name, &all).await?;
        let begun = async {
            while stack.database().query("SELECT cursor FROM push_cursor").await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(BEGIN_TIMEOUT, begun).await.context("the program reads no feed")??;
        Ok(PushNode(node))
    }

    /// A user of the API.
    pub fn user(&self, stack: &Stack, user: &str) -> Http {
        self.http(&stack.token(user))
    }

    /// Registers a browser as a device of a user. Returns the id of the device.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn register(&self, stack: &Stack, user: &str, browser: &Browser) -> Result<String> {
        let answer = self.user(stack, user).post("/me/devices", browser.subscription()).await?;
        let body = answer.expect(201).body;
        Ok(body["id"].as_str().context("a device without an id")?.to_owned())
    }
}

impl Deref for PushNode {
    type Target = CompanionNode;

    fn deref(&self) -> &CompanionNode {
        &self.0
    }
}
