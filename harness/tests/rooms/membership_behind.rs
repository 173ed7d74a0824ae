//! Changes that are accepted and pushed before they are stored: no later answer uses the state before the change, not
//! even the answer to a request that changes nothing.

use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold_partition};
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::http::Answer;
use tidings_harness::{Http, Stack};
use tidings_shared::ids::{Epoch, Seq};
use tokio::task::JoinHandle;

/// How long the writer is blocked from storing the accepted change.
const STORAGE_BLOCKED_S: f32 = 2.0;

/// Alice's room with bob, stored up to its head; two persistence nodes; storage that a test can block.
struct TestRoom {
    stack: Stack,
    log: RoomLog,
}

impl TestRoom {
    async fn new() -> Result<Self> {
        let stack = Stack::builder().gateways(0).persistence(2).start().await?;
        let log = RoomLog::new(&stack, 10_000).await?;
        // The first event creates the room's hash. Otherwise the room's seed would wait for the test's lock.
        log.send("m1").await?;
        Ok(Self { stack, log })
    }

    fn id(&self) -> &str {
        self.log.room.as_str()
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.log.log.read(&self.log.room, None, Epoch(0), None, &[]).await?.head.seq)
    }

    /// Blocks storage, sends a request to one node, and returns once its event is appended and therefore pushed.
    async fn request_until_appended<F>(
        &self,
        ask: impl FnOnce(Http) -> F,
    ) -> Result<(JoinHandle<()>, JoinHandle<F::Output>)>
    where
        F: Future<Output = Result<Answer, reqwest::Error>> + Send + 'static,
    {
        let hold = hold_partition(&self.stack, self.log.partition(), STORAGE_BLOCKED_S).await?;
        let before = self.head().await?;
        let asked = tokio::spawn(ask(self.stack.http_at(0, "alice")));
        let begun = Instant::now();
        while self.head().await? == before {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "nothing was accepted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok((hold, asked))
    }

    async fn role_of(&self, user: &str) -> Result<Vec<Vec<String>>> {
        let sql = format!("SELECT role FROM members WHERE room_id = '{}' AND user_id = '{user}'", self.id());
        self.stack.database().query(&sql).await
    }
}

#[tokio::test]
async fn readded_member_with_unstored_removal_is_member() -> Result<()> {
    let room = TestRoom::new().await?;
    let id = room.id().to_owned();
    let (hold, removed) =
        room.request_until_appended(|alice| async move { alice.remove_member(&id, "bob").await }).await?;
    let back = room.stack.http_at(1, "alice").put_member(room.id(), "bob", "member").await?.expect(200);
    removed.await??.expect(200);
    hold.await?;
    ensure!(room.role_of("bob").await? == [["member"]], "the answer was 200, but bob is not a member");
    let added = back.body["seq"].as_u64();
    let kinds = format!("SELECT seq, type FROM events WHERE room_id = '{}' ORDER BY seq", room.id());
    let kinds = room.stack.database().query(&kinds).await?;
    ensure!(
        kinds == [["2", "member:removed"], ["3", "member:added"]] && added == Some(3),
        "{kinds:?} {added:?}"
    );
    Ok(())
}

#[tokio::test]
async fn member_with_unstored_addition_can_be_removed() -> Result<()> {
    let room = TestRoom::new().await?;
    let id = room.id().to_owned();
    let (hold, added) = room
        .request_until_appended(|alice| async move { alice.put_member(&id, "carol", "member").await })
        .await?;
    room.stack.http_at(1, "alice").remove_member(room.id(), "carol").await?.expect(200);
    added.await??.expect(200);
    hold.await?;
    ensure!(room.role_of("carol").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn member_with_unstored_promotion_has_new_rights() -> Result<()> {
    let room = TestRoom::new().await?;
    let id = room.id().to_owned();
    let (hold, promoted) = room
        .request_until_appended(|alice| async move { alice.put_member(&id, "bob", "admin").await })
        .await?;
    room.stack.http_at(1, "bob").put_member(room.id(), "carol", "member").await?.expect(200);
    promoted.await??.expect(200);
    hold.await?;
    ensure!(room.role_of("carol").await? == [["member"]]);
    Ok(())
}

#[tokio::test]
async fn unstored_archive_or_rename_can_be_reverted() -> Result<()> {
    let room = TestRoom::new().await?;
    let other = room.stack.http_at(1, "alice");
    let stored = async || -> Result<(serde_json::Value, serde_json::Value)> {
        let seen = other.room(room.id()).await?.expect(200).body;
        Ok((seen["archived"].clone(), seen["name"].clone()))
    };
    for (change, back) in [
        (json!({"archived": true}), json!({"archived": false})),
        (json!({"name": "Tea"}), json!({"name": ""})),
    ] {
        let id = room.id().to_owned();
        let (hold, changed) =
            room.request_until_appended(|alice| async move { alice.change_room(&id, change).await }).await?;
        let answer = other.change_room(room.id(), back).await?.expect(200).body;
        changed.await??.expect(200);
        hold.await?;
        ensure!((&answer["archived"], &answer["name"]) == (&json!(false), &json!(null)), "{answer}");
        ensure!(stored().await? == (json!(false), json!(null)), "the stored room differs from the answer");
    }
    Ok(())
}

#[tokio::test]
async fn unstored_unarchive_blocks_no_change() -> Result<()> {
    let room = TestRoom::new().await?;
    let other = room.stack.http_at(1, "alice");
    other.archive_room(room.id()).await?.expect(204);
    let id = room.id().to_owned();
    let (hold, opened) = room
        .request_until_appended(
            |alice| async move { alice.change_room(&id, json!({"archived": false})).await },
        )
        .await?;
    let (named, added) = tokio::join!(
        other.change_room(room.id(), json!({"name": "Tea"})),
        other.put_member(room.id(), "carol", "member")
    );
    named?.expect(200);
    added?.expect(200);
    opened.await??.expect(200);
    hold.await?;
    Ok(())
}

#[tokio::test]
async fn non_member_refusal_does_not_wait_for_storage() -> Result<()> {
    let room = TestRoom::new().await?;
    let id = room.id().to_owned();
    let (hold, named) = room
        .request_until_appended(|alice| async move { alice.change_room(&id, json!({"name": "Tea"})).await })
        .await?;
    let outsider = room.stack.http_at(1, "outsider");
    outsider.put_member(room.id(), "bob", "guest").await?.expect(404);
    outsider.put_member(room.id(), "outsider", "member").await?.expect(404);
    outsider.remove_member(room.id(), "bob").await?.expect(404);
    outsider.change_room(room.id(), json!({"archived": false})).await?.expect(404);
    ensure!(!hold.is_finished(), "the refusal waited for storage");
    hold.await?;
    named.await??.expect(200);
    Ok(())
}
