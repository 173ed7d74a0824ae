//! Connections to PostgreSQL that fall silent in the middle of a statement: they stay open, and there is neither an
//! answer nor an error. Background work must go on by new connections.

use std::time::Duration;

use anyhow::{Context, Result, bail};
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

    /// Locks a table, and does `work`. When the statements with these texts wait for the lock, lets all open
    /// connections fall silent, and releases the lock. New connections work.
    async fn fall_silent(
        &self,
        stack: &Stack,
        table: &str,
        work: impl Future<Output = Result<()>>,
        waiting: &[&str],
    ) -> Result<()> {
        let database = stack.database();
        let lock = format!("DO $$ BEGIN LOCK TABLE {table}; PERFORM pg_sleep(100); END $$");
        let falling = async {
            database.until_asleep().await?;
            work.await?;
            for text in waiting {
                let sql = format!(
                    "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                     AND datname = current_database() AND strpos(query, '{text}') > 0"
                );
                until(text, async || Ok(!database.query(&sql).await?.is_empty())).await?;
            }
            self.proxy.half_open();
            let release = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                WHERE wait_event = 'PgSleep' AND datname = current_database()";
            database.query(release).await.map(drop)
        };
        tokio::select! {
            ended = database.query(&lock) => bail!("the lock ended: {ended:?}"),
            fallen = falling => fallen,
        }
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
    let waiting = ["WHERE webhook_id = $1 GROUP BY", "next_attempt_at <= now()"];
    link.fall_silent(&stack, "webhook_deliveries", send, &waiting).await?;
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
    link.fall_silent(&stack, "files", async { Ok(()) }, &["AS is_emptied FROM files"]).await?;
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
