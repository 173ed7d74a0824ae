//! The sweep of files removes what nobody needs, and never a file of a stored message.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use tidings_harness::Stack;
use tidings_harness::files::FilesNode;

use crate::files_uploads::{id_of, png, send_file, start_stack, upload_of};
use crate::webhooks::until;

/// Short times, so that each kind of file is removed within seconds.
const QUICK: [(&str, &str); 4] = [
    ("TIDINGS_FILES_UPLOAD_TIMEOUT_S", "600"),
    ("TIDINGS_FILES_ORPHAN_AFTER_S", "15"),
    ("TIDINGS_FILES_DELETE_GRACE_S", "2"),
    ("TIDINGS_FILES_CHECK_EVERY_S", "1"),
];

/// Waits until a file has neither a row nor a content file.
async fn until_gone(stack: &Stack, node: &FilesNode, file: &str) -> Result<()> {
    until("the file is gone", async || {
        let sql = format!("SELECT id FROM files WHERE id = '{file}'");
        Ok(stack.database().query(&sql).await?.is_empty() && !node.path_of(file).exists())
    })
    .await
}

#[tokio::test]
async fn files_without_stored_messages_are_removed_and_others_stay() -> Result<()> {
    let stack = start_stack().await?;
    let nodes = [
        FilesNode::start(&stack, "files-0", &QUICK).await?,
        FilesNode::start(&stack, "files-1", &QUICK).await?,
    ];
    let node = &nodes[0];
    let alice = node.user(&stack.token("alice"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let upload = async |name: &str| alice.upload(&room, name, "image/png", &png(1_000, 1)).await;
    let (kept, deleted, edited) = (upload("kept").await?, upload("deleted").await?, upload("edited").await?);
    let kept_at = send_file(&http, &room, &kept).await?;
    let deleted_at = send_file(&http, &room, &deleted).await?;
    let edited_at = send_file(&http, &room, &edited).await?;
    // A file that two messages show, of which one is deleted.
    let shared = upload("shared").await?;
    let first = send_file(&http, &room, &shared).await?;
    let again = serde_json::json!({"client_id": "again", "attachments": [shared["attachment"]]});
    let second = http.post(&format!("/rooms/{room}/messages"), again).await?.expect(201).body["seq"].as_u64();
    let unused = upload("unused").await?;

    let message = |seq: u64| format!("/rooms/{room}/messages/{seq}");
    let _address = alice.address(&room, deleted_at, &id_of(&deleted)).await?.expect(200);
    for seq in [deleted_at, first] {
        let answer = http.request(Method::DELETE, &message(seq), None).await?;
        ensure!(answer.status < 300, "{answer:?}");
    }
    let edit = serde_json::json!({"content": "another text"});
    ensure!(http.request(Method::PATCH, &message(edited_at), Some(edit)).await?.status < 300);
    until_gone(&stack, node, &id_of(&deleted)).await?;
    until_gone(&stack, node, &id_of(&unused)).await?;
    // Several more rounds change nothing about the files that messages show.
    tokio::time::sleep(Duration::from_secs(8)).await;
    for (file, seq) in [(&kept, kept_at), (&edited, edited_at), (&shared, second.unwrap_or_default())] {
        ensure!(nodes[1].user(&stack.token("bob")).download(&room, seq, &id_of(file)).await?.status == 200);
    }
    let metrics = [nodes[0].metrics().await?, nodes[1].metrics().await?];
    for reason in ["unused", "deleted"] {
        let count = |page: &String| {
            let name = format!("tidings_files_swept_total{{reason=\"{reason}\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u32>().ok()).unwrap_or_default()
        };
        ensure!(metrics.iter().map(count).sum::<u32>() == 1, "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn abandoned_upload_is_removed_and_a_killed_sweep_goes_on() -> Result<()> {
    let stack = start_stack().await?;
    let settings = [("TIDINGS_FILES_UPLOAD_TIMEOUT_S", "2")];
    let node = FilesNode::start(&stack, "files", &settings).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let created = alice.create(&room, "a.png", "image/png", &png(1_000, 1)).await?.expect(201).json();
    let _stored = alice.append(&upload_of(&created), 0, png(500, 1)).await?.expect(204);
    until_gone(&stack, &node, &id_of(&created)).await?;
    let _unknown = alice.append(&upload_of(&created), 500, "x").await?.expect(404);
    ensure!(!node.path_of(&id_of(&created)).exists());
    // The program is killed after it has marked a file, and before it has removed it.
    let created = alice.create(&room, "b.png", "image/png", &png(1_000, 1)).await?.expect(201).json();
    let _stored = alice.append(&upload_of(&created), 0, png(500, 1)).await?.expect(204);
    node.kill();
    let sql = format!("UPDATE files SET state = 'removed', due_at = now() WHERE id = '{}'", id_of(&created));
    stack.database().query(&sql).await?;
    node.start_again().await?;
    until_gone(&stack, &node, &id_of(&created)).await
}

/// A replica that is killed between a preview and the look at the row leaves the preview of a file that is being removed.
#[tokio::test]
async fn preview_stored_during_the_removal_is_removed_too() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[("TIDINGS_FILES_UPLOAD_TIMEOUT_S", "600")]).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let file = id_of(&alice.upload(&room, "a.png", "image/png", &png(1_000, 1)).await?);
    let mark = format!("UPDATE files SET state = 'removed', due_at = now() WHERE id = '{file}'");
    stack.database().query(&mark).await?;
    let emptied = format!("SELECT count(emptied_at) FROM files WHERE id = '{file}'");
    until("the content is removed", async || Ok(stack.database().value(&emptied).await? == "1")).await?;
    ensure!(!node.path_of(&file).exists());
    let preview = node.path_of(&file).with_extension("preview");
    std::fs::write(&preview, "a preview")?;
    until_gone(&stack, &node, &file).await?;
    ensure!(!preview.exists(), "the preview stays");
    Ok(())
}

#[tokio::test]
async fn erased_user_leaves_no_files() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &QUICK).await?;
    let alice = node.user(&stack.token("alice"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let file = alice.upload(&room, "mine.png", "image/png", &png(1_000, 1)).await?;
    let seq = send_file(&http, &room, &file).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let bob = node.user(&stack.token("bob"));
    ensure!(bob.download(&room, seq, &id_of(&file)).await?.status == 200);
    ensure!(http.request(Method::DELETE, "/me", None).await?.status == 204);
    until("the file cannot be downloaded", async || {
        Ok(bob.address(&room, seq, &id_of(&file)).await?.status == 404)
    })
    .await?;
    until_gone(&stack, &node, &id_of(&file)).await
}

#[tokio::test]
async fn erased_user_leaves_no_unsent_files_and_uploads() -> Result<()> {
    let stack = start_stack().await?;
    // The sweep alone would keep them for a week.
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let alice = node.user(&stack.token("alice"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let unsent = alice.upload(&room, "unsent.png", "image/png", &png(1_000, 1)).await?;
    let begun = alice.create(&room, "begun.png", "image/png", &png(1_000, 1)).await?.expect(201).json();
    let _stored = alice.append(&upload_of(&begun), 0, png(500, 1)).await?.expect(204);
    let bob = node.user(&stack.token("bob"));
    let kept = bob.upload(&room, "kept.png", "image/png", &png(1_000, 1)).await?;
    ensure!(http.request(Method::DELETE, "/me", None).await?.status == 204);
    until_gone(&stack, &node, &id_of(&unsent)).await?;
    until_gone(&stack, &node, &id_of(&begun)).await?;
    ensure!(node.path_of(&id_of(&kept)).exists(), "files of others stay");
    Ok(())
}

#[tokio::test]
async fn folder_without_marker_is_not_used_and_loses_no_row() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &QUICK).await?;
    let alice = node.user(&stack.token("alice"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let sent = alice.upload(&room, "sent.png", "image/png", &png(1_000, 1)).await?;
    let seq = send_file(&http, &room, &sent).await?;
    let unused = alice.upload(&room, "unused.png", "image/png", &png(1_000, 1)).await?;
    // The folder is there and empty, as a mount point without its file system.
    let away = node.folder().with_extension("away");
    std::fs::rename(node.folder(), &away)?;
    std::fs::create_dir(node.folder())?;
    ensure!(alice.download(&room, seq, &id_of(&sent)).await?.status == 503);
    let begun = alice.create(&room, "begun.png", "image/png", &png(1_000, 1)).await?.expect(201).json();
    ensure!(alice.append(&upload_of(&begun), 0, png(500, 1)).await?.status == 503);
    // The unused file is marked, and its row stays because its content cannot be seen.
    let state = async || {
        let sql = format!("SELECT state FROM files WHERE id = '{}'", id_of(&unused));
        Ok::<_, anyhow::Error>(stack.database().query(&sql).await?.first().map(|row| row[0].clone()))
    };
    until("the unused file is marked", async || Ok(state().await?.as_deref() == Some("removed"))).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(state().await?.as_deref() == Some("removed"), "the row is gone, and the content is not");
    // A replica that starts now would begin an empty folder.
    node.kill();
    let _ready_until_the_folder_is_checked = node.start_again().await;
    until("the replica ends", async || Ok(alice.get("/v1/files/openapi.json").await.is_err())).await?;

    std::fs::remove_dir(node.folder())?;
    std::fs::rename(&away, node.folder())?;
    node.start_again().await?;
    ensure!(alice.download(&room, seq, &id_of(&sent)).await?.status == 200);
    Ok(())
}
