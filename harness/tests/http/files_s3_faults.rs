//! Files in a bucket when something fails: the service, the bucket, or what the client sends.

use anyhow::{Result, ensure};
use tidings_harness::files::{FilesNode, bytes_of, sha256_hex};

use crate::files_s3::{Setup, THREE_PARTS, parts_of};
use crate::files_uploads::{id_of, png, send_file};
use crate::webhooks::until;

/// The numbers of the parts that an upload lacks.
async fn missing(setup: &Setup, file: &str) -> Result<Vec<u64>> {
    let seen = setup.alice.get(&setup.path(file)).await?.expect(200).json();
    Ok(parts_of(&seen)?.iter().filter_map(|part| part["number"].as_u64()).collect())
}

#[tokio::test]
async fn upload_in_parts_resumes_after_the_service_was_killed() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let content = png(THREE_PARTS, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    let part = parts_of(&created)?[1].clone();
    setup.node.kill();
    // The bytes do not pass through the service.
    let _stored = setup.alice.put_part(&part, bytes_of(&part, &content)?).await?.expect(200);
    setup.node.start_again().await?;
    ensure!(missing(&setup, &id).await? == [1, 3]);
    ensure!(setup.complete(&id).await?.expect(409).reason() == "incomplete");
    // A part may be sent again.
    let _stored = setup.alice.put_part(&part, bytes_of(&part, &content)?).await?.expect(200);
    ensure!(setup.alice.send_parts(&setup.room, &id, &content).await? == 2);
    setup.node.kill();
    setup.node.start_again().await?;
    ensure!(missing(&setup, &id).await?.is_empty());
    let file = setup.complete(&id).await?.expect(200).json();
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    let got = setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes;
    ensure!(sha256_hex(&got) == sha256_hex(&content) && setup.server.stored_parts()? == 0);
    Ok(())
}

#[tokio::test]
async fn completion_goes_on_after_a_kill_between_bucket_and_database() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    setup.alice.send_parts(&setup.room, &id, &content).await?;
    let sql = format!("SELECT upload_id FROM files WHERE id = '{id}'");
    let upload = setup.stack.database().value(&sql).await?;
    let _completed = setup.complete(&id).await?.expect(200);
    // As if the program had been killed before it changed the row.
    let undo = format!("UPDATE files SET state = 'uploading', upload_id = '{upload}' WHERE id = '{id}'");
    setup.stack.database().query(&undo).await?;
    let seen = setup.alice.get(&setup.path(&id)).await?.expect(200).json();
    ensure!(parts_of(&seen)?.is_empty() && seen["upload"]["received_bytes"] == 5_000, "{seen}");
    ensure!(setup.complete(&id).await?.expect(200).json()["state"] == "ready");
    Ok(())
}

#[tokio::test]
async fn simultaneous_completions_give_one_answer() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let other = FilesNode::start_with_bucket(&setup.stack, "other", &setup.server, &[]).await?;
    let content = png(THREE_PARTS, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    setup.alice.send_parts(&setup.room, &id, &content).await?;
    let path = format!("{}/complete", setup.path(&id));
    let elsewhere = other.user(&setup.stack.token("alice"));
    let (a, b) = tokio::join!(setup.alice.post(&path), elsewhere.post(&path));
    for answer in [a?, b?] {
        // One of them may meet the other one in the middle, and then says so.
        ensure!(answer.status == 200 || answer.status == 409 || answer.status == 503, "{answer:?}");
    }
    ensure!(setup.complete(&id).await?.expect(200).json()["state"] == "ready");
    ensure!(std::fs::read(setup.server.path_of(&id))? == content);
    Ok(())
}

#[tokio::test]
async fn upload_that_the_bucket_gave_up_begins_again() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    let sql = format!("UPDATE files SET upload_id = 'aborted-by-a-rule' WHERE id = '{id}'");
    setup.stack.database().query(&sql).await?;
    ensure!(setup.complete(&id).await?.expect(409).reason() == "incomplete");
    ensure!(setup.alice.send_parts(&setup.room, &id, &content).await? == 1);
    let _completed = setup.complete(&id).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn wrong_bytes_and_wrong_types_leave_no_object() -> Result<()> {
    let setup = Setup::start(&[("TIDINGS_FILES_MEDIA_TYPES", "image/*")]).await?;
    let zip = b"PK\x03\x04 an archive".to_vec();
    for (declared, sent, reason) in
        [(png(5_000, 1), png(5_000, 2), "checksum"), (zip.clone(), zip, "media_type")]
    {
        let created = setup.create(&declared).await?;
        let id = id_of(&created);
        setup.alice.send_parts(&setup.room, &id, &sent).await?;
        ensure!(setup.complete(&id).await?.expect(400).reason() == reason);
        ensure!(!setup.server.path_of(&id).exists(), "{reason}");
        let _unknown = setup.alice.get(&setup.path(&id)).await?.expect(404);
        let _unknown = setup.complete(&id).await?.expect(404);
    }
    let metrics = setup.node.metrics().await?;
    for result in ["wrong_checksum", "wrong_type"] {
        let line = format!("tidings_files_completions_total{{result=\"{result}\"}} 1");
        ensure!(metrics.lines().any(|found| found == line), "{result}");
    }
    let _file = setup.alice.upload(&setup.room, "a.png", "image/png", &png(5_000, 1)).await?;
    Ok(())
}

#[tokio::test]
async fn unreachable_bucket_is_reported_and_loses_nothing() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    setup.alice.send_parts(&setup.room, &id, &content).await?;
    setup.server.kill();
    ensure!(setup.complete(&id).await?.status == 503);
    ensure!(setup.alice.get(&setup.path(&id)).await?.status == 503);
    // An upload that could not begin does not count in the limit of open uploads.
    ensure!(setup.alice.create(&setup.room, "b", "a/b", &content).await?.status == 503);
    setup.server.start_again().await?;
    let _completed = setup.complete(&id).await?.expect(200);
    until("the refused file is gone", async || {
        let sql = "SELECT count(*) FROM files WHERE name = 'b'";
        Ok(setup.stack.database().value(sql).await? == "0")
    })
    .await
}

#[tokio::test]
async fn bucket_without_marker_is_not_used_and_loses_no_row() -> Result<()> {
    let settings = [("TIDINGS_FILES_ORPHAN_AFTER_S", "20"), ("TIDINGS_FILES_CHECK_EVERY_S", "1")];
    let setup = Setup::start(&settings).await?;
    let sent = setup.alice.upload(&setup.room, "sent.png", "image/png", &png(1_000, 1)).await?;
    let seq = send_file(&setup.http, &setup.room, &sent).await?;
    let unused = setup.alice.upload(&setup.room, "unused.png", "image/png", &png(1_000, 2)).await?;
    // As after a change of the settings to another bucket.
    let marker = setup.server.folder().join("tests").join("tidings-files");
    let away = setup.server.folder().join("away");
    std::fs::rename(&marker, &away)?;
    let sql = format!("SELECT state FROM files WHERE id = '{}'", id_of(&unused));
    let state =
        async || anyhow::Ok(setup.stack.database().query(&sql).await?.first().map(|row| row[0].clone()));
    until("the unused file is marked", async || Ok(state().await?.as_deref() == Some("removed"))).await?;
    let failures = async || {
        let metrics = setup.node.metrics().await?;
        let count =
            metrics.lines().find_map(|line| line.strip_prefix("tidings_files_storage_failures_total "));
        anyhow::Ok(count.unwrap_or_default().parse::<u64>()?)
    };
    let before = failures().await?;
    let retry = format!("UPDATE files SET due_at = now() WHERE id = '{}'", id_of(&unused));
    until("the sweep has failed twice", async || {
        setup.stack.database().query(&retry).await?;
        Ok(failures().await? >= before + 2)
    })
    .await?;
    ensure!(state().await?.as_deref() == Some("removed"), "the row is gone, and the content is not");
    // A replica that starts now would begin an empty bucket.
    setup.node.kill();
    let _ready_until_the_bucket_is_checked = setup.node.start_again().await;
    until("the replica ends", async || Ok(setup.node.metrics().await.is_err())).await?;

    std::fs::rename(&away, &marker)?;
    // It fails while the ended process is not gone yet.
    until("the replica starts", async || Ok(setup.node.start_again().await.is_ok())).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id_of(&sent)).await?.status == 200);
    Ok(())
}
