//! The sweep of files in a bucket removes the objects and the unfinished uploads that nobody needs.

use anyhow::{Result, ensure};
use reqwest::Method;
use tidings_harness::files::bytes_of;

use crate::files_s3::{Setup, THREE_PARTS, parts_of};
use crate::files_uploads::{id_of, png, send_file};
use crate::webhooks::until;

/// Waits until a file has neither a row nor an object.
async fn until_gone(setup: &Setup, file: &str) -> Result<()> {
    until("the file is gone", async || {
        let sql = format!("SELECT id FROM files WHERE id = '{file}'");
        Ok(setup.stack.database().query(&sql).await?.is_empty() && !setup.server.path_of(file).exists())
    })
    .await
}

/// Begins an upload of three parts, and sends the first one.
async fn begin(setup: &Setup) -> Result<String> {
    let content = png(THREE_PARTS, 1);
    let created = setup.create(&content).await?;
    let part = &parts_of(&created)?[0];
    let _stored = setup.alice.put_part(part, bytes_of(part, &content)?).await?.expect(200);
    ensure!(setup.server.stored_parts()? > 0, "the first part is stored");
    Ok(id_of(&created))
}

async fn until_no_parts(setup: &Setup) -> Result<()> {
    until("no part is left", async || Ok(setup.server.stored_parts()? == 0)).await
}

#[tokio::test]
async fn abandoned_upload_and_unused_object_are_removed_and_others_stay() -> Result<()> {
    let setup = Setup::start(&[
        ("TIDINGS_FILES_UPLOAD_TIMEOUT_S", "20"),
        ("TIDINGS_FILES_ORPHAN_AFTER_S", "10"),
        ("TIDINGS_FILES_DELETE_GRACE_S", "1"),
        ("TIDINGS_FILES_CHECK_EVERY_S", "1"),
    ])
    .await?;
    let sent = setup.alice.upload(&setup.room, "sent.png", "image/png", &png(1_000, 1)).await?;
    let seq = send_file(&setup.http, &setup.room, &sent).await?;
    let deleted = setup.alice.upload(&setup.room, "deleted.png", "image/png", &png(1_000, 2)).await?;
    let of_deleted = send_file(&setup.http, &setup.room, &deleted).await?;
    let unused = setup.alice.upload(&setup.room, "unused.png", "image/png", &png(1_000, 3)).await?;
    let begun = begin(&setup).await?;
    let message = format!("/rooms/{}/messages/{of_deleted}", setup.room);
    ensure!(setup.http.request(Method::DELETE, &message, None).await?.status < 300);
    for file in [&id_of(&unused), &id_of(&deleted), &begun] {
        until_gone(&setup, file).await?;
    }
    until_no_parts(&setup).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id_of(&sent)).await?.expect(200).bytes == png(1_000, 1));
    Ok(())
}

// Covers: DELETE /rooms/{room}/files/{file}.
#[tokio::test]
async fn given_up_upload_leaves_no_parts_and_its_urls_end() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let id = begin(&setup).await?;
    let seen = setup.alice.get(&setup.path(&id)).await?.expect(200).json();
    let part = parts_of(&seen)?[0].clone();
    let _removed = setup.alice.delete(&setup.path(&id)).await?.expect(204);
    ensure!(setup.server.stored_parts()? == 0, "parts are left");
    let body = bytes_of(&part, &png(THREE_PARTS, 1))?;
    // The server may close the connection before it has read such a large body.
    let refused = setup.alice.put_part(&part, body).await;
    ensure!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 404), "the part was taken");
    ensure!(setup.server.stored_parts()? == 0, "the part was stored");
    until_gone(&setup, &id).await
}

#[tokio::test]
async fn completion_beside_a_removal_leaves_no_object() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let content = png(THREE_PARTS, 1);
    for _ in 0..5 {
        let id = id_of(&setup.create(&content).await?);
        setup.alice.send_parts(&setup.room, &id, &content).await?;
        let path = setup.path(&id);
        let (completed, removed) = tokio::join!(setup.complete(&id), setup.alice.delete(&path));
        ensure!(removed?.status == 204);
        ensure!(completed?.status != 500, "the completion failed for another reason");
        until_gone(&setup, &id).await?;
    }
    until_no_parts(&setup).await
}

#[tokio::test]
async fn sweep_goes_on_after_the_bucket_was_away() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let id = begin(&setup).await?;
    setup.server.kill();
    let sql = format!("UPDATE files SET state = 'removed', due_at = now() WHERE id = '{id}'");
    setup.stack.database().query(&sql).await?;
    // The row stays, because it is the only thing that knows of the upload.
    until("the sweep has failed", async || {
        let metrics = setup.node.metrics().await?;
        let failures =
            metrics.lines().find_map(|line| line.strip_prefix("tidings_files_storage_failures_total "));
        Ok(failures.is_some_and(|count| count != "0"))
    })
    .await?;
    let count = format!("SELECT count(*) FROM files WHERE id = '{id}'");
    ensure!(setup.stack.database().value(&count).await? == "1");
    setup.server.start_again().await?;
    let retry = format!("UPDATE files SET due_at = now() WHERE id = '{id}'");
    until("the file is gone", async || {
        setup.stack.database().query(&retry).await?;
        Ok(setup.stack.database().value(&count).await? == "0")
    })
    .await?;
    ensure!(setup.server.stored_parts()? == 0, "parts are left");
    Ok(())
}

#[tokio::test]
async fn erased_user_leaves_no_objects_and_no_parts() -> Result<()> {
    let setup = Setup::start(&[
        ("TIDINGS_FILES_ORPHAN_AFTER_S", "20"),
        ("TIDINGS_FILES_DELETE_GRACE_S", "1"),
        ("TIDINGS_FILES_CHECK_EVERY_S", "1"),
    ])
    .await?;
    let sent = setup.alice.upload(&setup.room, "sent.png", "image/png", &png(1_000, 1)).await?;
    send_file(&setup.http, &setup.room, &sent).await?;
    let unsent = setup.alice.upload(&setup.room, "unsent.png", "image/png", &png(1_000, 2)).await?;
    let begun = begin(&setup).await?;
    let kept = setup.bob.upload(&setup.room, "kept.png", "image/png", &png(1_000, 3)).await?;
    send_file(&setup.stack.http("bob"), &setup.room, &kept).await?;
    ensure!(setup.http.request(Method::DELETE, "/me", None).await?.status == 204);
    for file in [&id_of(&sent), &id_of(&unsent), &begun] {
        until_gone(&setup, file).await?;
    }
    until_no_parts(&setup).await?;
    ensure!(setup.server.path_of(&id_of(&kept)).exists(), "files of others stay");
    Ok(())
}
