//! Connections to PostgreSQL that fall silent in the middle of a statement: they stay open, and there is neither an
//! answer nor an error. Background work must go on by new connections.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tidings_harness::Stack;
use tidings_harness::files::FilesNode;
use tidings_harness::proxy::Proxy;
use tidings_harness::webhooks::{Receiver, WebhooksNode};

use crate::files_uploads::{id_of, png, start_stack, upload_of};
use crate::webhooks::{self, until, until_complete};

/// Longer than the time limit of a background step, 30 s.
const DEADLINE: Duration = Duration::from_secs(90);

/// A link to the database of a stack.
struct Link {
    proxy: Proxy,
    url: String,
}

impl Link {
    async fn start(stack: &Stack) -> Result<Link> {
        let port = stack.database().server().port();
        let proxy = Proxy::start(port).await?;
        let url = stack.database().url().replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
        Ok(Link { proxy, url })
    }

    /// Locks a table, and does `work`. When this number of statements of the program wait for the lock, lets all
    /// open connections fall silent, and releases the lock. New connections work.
    async fn fall_silent(
        &self,
        stack: &Stack,
        table: &str,
        work: impl Future<Output = Result<()>>,
        (program, waiting): (&str, usize),
    ) -> Result<()> {
        let database = stack.database();
        let lock = format!("DO $$ BEGIN LOCK TABLE {table}; PERFORM pg_sleep(100); END $$");
        let falling = async {
            database.until_asleep().await?;
            work.await?;
            let sql = format!(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                 AND datname = current_database() AND application_name = '{program}'"
            );
            until("statements that wait", async || Ok(database.query(&sql).await?.len() >= waiting)).await?;
            self.proxy.half_open();
            let release = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                WHERE wait_event = 'PgSleep' AND datname = current_database()";
            database.query(release).await.map(drop)
        };
        // The lock ends with an error, because it is cancelled.
        tokio::join!(database.query(&lock), falling).1
    }
}

#[tokio::test]
async fn webhooks_deliver_after_their_connections_fell_silent() -> Result<()> {
    let (stack, receiver) = (webhooks::start_stack().await?, Receiver::start().await?);
    let link = Link::start(&stack).await?;
    let node = WebhooksNode::start(&stack, "webhooks", &[("DATABASE_URL", link.url.as_str())]).await?;
    node.register(receiver.url(), json!({})).await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    until_complete(&stack, &receiver).await?;
    let send = async { webhooks::send(&alice, &room, "silent", 1).await };
    // The reader and the sender.
    link.fall_silent(&stack, "webhook_deliveries", send, ("tidings-webhooks", 2)).await?;
    let is_delivered = async { while until_complete(&stack, &receiver).await.is_err() {} };
    tokio::time::timeout(DEADLINE, is_delivered).await.context("nothing is delivered any more")
}

#[tokio::test]
async fn files_are_swept_after_connections_fell_silent() -> Result<()> {
    let stack = start_stack().await?;
    let link = Link::start(&stack).await?;
    let settings = [("DATABASE_URL", link.url.as_str()), ("TIDINGS_FILES_UPLOAD_TIMEOUT_S", "600")];
    let node = FilesNode::start(&stack, "files", &settings).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let created = alice.create(&room, "a.png", "image/png", &png(1_000, 1)).await?.expect(201).json();
    let _stored = alice.append(&upload_of(&created), 0, png(500, 1)).await?.expect(204);
    link.fall_silent(&stack, "files", async { Ok(()) }, ("tidings-files", 1)).await?;
    stack.database().query("UPDATE files SET due_at = now()").await?;
    let is_swept = async {
        let file = id_of(&created);
        while node.path_of(&file).exists()
            || !stack.database().query("SELECT id FROM files").await?.is_empty()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DEADLINE, is_swept).await.context("nothing is swept any more")?
}
