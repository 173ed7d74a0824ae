//! Files in a bucket of Azure or Google Cloud when something fails: the service, the bucket, or what a client sends.

use anyhow::{Result, ensure};
use reqwest::Method;
use rstest::rstest;
use tidings_harness::files::{Cloud, FilesNode, bytes_of};

use crate::files_cloud::{CloudSetup, object_of};
use crate::files_previews::{POSITION, contains, photo};
use crate::files_s3::{THREE_PARTS, parts_of};
use crate::files_uploads::{id_of, png, send_file};
use crate::webhooks::until;

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn content_that_was_changed_in_the_bucket_is_not_served(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let file = setup.alice.upload(&setup.room, "a.png", "image/png", &png(5_000, 1)).await?;
    let (id, seq) = (id_of(&file), send_file(&setup.http, &setup.room, &file).await?);
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.status == 200);
    setup.server.replace(&object_of(&id), &png(5_000, 2)).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.status == 404);
    let address = setup.bob.address(&setup.room, seq, &id).await?.expect(200).json();
    let url = address["url"].as_str().unwrap_or_default();
    let part = setup.bob.request(Method::GET, url).header("range", "bytes=0-9");
    ensure!(setup.bob.send(part).await?.status == 404);
    // As after a copy to another bucket: the bytes are the same, but not the etag.
    setup.server.replace(&object_of(&id), &png(5_000, 1)).await?;
    let etag = format!("SELECT content_etag FROM files WHERE id = '{id}'");
    let foreign = format!("UPDATE files SET content_etag = 'foreign' WHERE id = '{id}'");
    setup.stack.database().query(&foreign).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes == png(5_000, 1));
    ensure!(setup.stack.database().value(&etag).await? != "foreign", "the new etag is not remembered");
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn simultaneous_completions_give_one_file(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let other = FilesNode::start_with_cloud(&setup.stack, "other", &setup.server, &[]).await?;
    let elsewhere = other.user(&setup.stack.token("alice"));
    for round in 0..6 {
        let (content, name, media_type) = match round % 2 {
            0 => (png(3_000_000, round), "a.png", "image/png"),
            _ => (photo()?, "photo.jpg", "image/jpeg"),
        };
        let created = setup.alice.create(&setup.room, name, media_type, &content).await?.expect(201).json();
        let id = id_of(&created);
        setup.alice.send_parts(&setup.room, &id, &content).await?;
        let path = format!("{}/complete", setup.path(&id));
        let (a, b, c) = tokio::join!(setup.alice.post(&path), elsewhere.post(&path), setup.alice.post(&path));
        for answer in [a?, b?, c?] {
            // One of them may meet another one in the middle, and then says so.
            ensure!([200, 409, 503].contains(&answer.status), "{answer:?}");
        }
        let file = setup.alice.post(&path).await?.expect(200).json();
        let seq = send_file(&setup.http, &setup.room, &file).await?;
        let got = setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes;
        ensure!(file["attachment"]["size"] == got.len() && !contains(&got, POSITION));
        ensure!(round % 2 == 1 || got == content, "other bytes");
    }
    Ok(())
}

/// The uploader sends other bytes while the completion checks the first ones, and in odd rounds beside the first ones, so
/// that either may be recorded.
#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn bytes_that_were_not_checked_are_never_served(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let other = FilesNode::start_with_cloud(&setup.stack, "other", &setup.server, &[]).await?;
    let elsewhere = other.user(&setup.stack.token("alice"));
    let (declared, evil) = (png(2_000_000, 1), png(2_000_000, 2));
    let mut ready = 0;
    for round in 0..8 {
        let created = setup.create(&declared).await?;
        let (id, part) = (id_of(&created), parts_of(&created)?[0].clone());
        if round % 2 == 1 {
            let put = |content: &Vec<u8>| setup.alice.put_part(&part, content.clone());
            let (first, second) = tokio::join!(put(&evil), put(&declared));
            ensure!(first?.status == 200 && second?.status == 200);
        } else {
            let _stored = setup.alice.put_part(&part, declared.clone()).await?.expect(200);
        }
        let path = format!("{}/complete", setup.path(&id));
        let replacing = async {
            setup.alice.put_part(&part, evil.clone()).await?;
            elsewhere.post(&path).await
        };
        let (first, second, third) = tokio::join!(setup.alice.post(&path), replacing, elsewhere.post(&path));
        for answer in [first?, second?, third?] {
            ensure!([200, 400, 404, 409, 503].contains(&answer.status), "{answer:?}");
        }
        let seen = setup.alice.get(&setup.path(&id)).await?;
        if seen.status == 200 && seen.json()["state"] == "ready" {
            let seq = send_file(&setup.http, &setup.room, &seen.json()).await?;
            let got = setup.bob.download(&setup.room, seq, &id).await?.expect(200);
            ensure!(got.bytes == declared, "bytes were served that were not checked");
            ready += 1;
        } else {
            let _gone = setup.alice.delete(&setup.path(&id)).await?;
        }
    }
    ensure!(ready > 0, "no file became ready");
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn upload_that_the_bucket_gave_up_begins_again(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let content = png(THREE_PARTS, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    setup.alice.send_parts(&setup.room, &id, &content).await?;
    if !setup.server.drop_uploads()? {
        // Azurite cannot drop uploads. A wrong etag simulates a block that the bucket has lost.
        let sql = format!("UPDATE file_parts SET etag = 'lost' WHERE file_id = '{id}' AND number = 2");
        setup.stack.database().query(&sql).await?;
    }
    let path = format!("{}/complete", setup.path(&id));
    ensure!(setup.alice.post(&path).await?.expect(409).reason() == "incomplete");
    ensure!(setup.alice.send_parts(&setup.room, &id, &content).await? == 3, "parts were not asked for again");
    let file = setup.alice.post(&path).await?.expect(200).json();
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}

/// An upload that began in a folder, which takes larger files.
#[tokio::test]
async fn part_of_a_file_that_is_too_large_for_the_storage_is_refused() -> Result<()> {
    let setup = CloudSetup::start(Cloud::Google, &[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let part = parts_of(&created)?[0].clone();
    let larger = format!("UPDATE files SET size = 8388608001 WHERE id = '{}'", id_of(&created));
    setup.stack.database().query(&larger).await?;
    let refused = setup.alice.put_part(&part, content).await?;
    ensure!(refused.status == 413, "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn part_for_an_unknown_upload_begins_another_one() -> Result<()> {
    let setup = CloudSetup::start(Cloud::Google, &[]).await?;
    let content = png(THREE_PARTS, 1);
    let created = setup.create(&content).await?;
    let (id, parts) = (id_of(&created), parts_of(&created)?);
    let _stored = setup.alice.put_part(&parts[0], bytes_of(&parts[0], &content)?).await?.expect(200);
    setup.server.drop_uploads()?;
    let _ended = setup.alice.put_part(&parts[1], bytes_of(&parts[1], &content)?).await?.expect(409);
    ensure!(setup.alice.send_parts(&setup.room, &id, &content).await? == 3, "parts were not asked for again");
    let _completed = setup.alice.post(&format!("{}/complete", setup.path(&id))).await?.expect(200);
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn completion_goes_on_after_a_kill_between_bucket_and_database(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    setup.alice.send_parts(&setup.room, &id, &content).await?;
    let value = async |column: &str, table: &str, key: &str| {
        setup.stack.database().value(&format!("SELECT {column} FROM {table} WHERE {key} = '{id}'")).await
    };
    let upload = value("upload_id", "files", "id").await?;
    let etag = value("etag", "file_parts", "file_id").await?;
    let path = format!("{}/complete", setup.path(&id));
    let _completed = setup.alice.post(&path).await?.expect(200);
    // As if the program had been killed before it changed the rows.
    for undo in [
        format!("UPDATE files SET state = 'uploading', upload_id = '{upload}' WHERE id = '{id}'"),
        format!("INSERT INTO file_parts VALUES ('{id}', 1, '{etag}')"),
    ] {
        setup.stack.database().query(&undo).await?;
    }
    let seen = setup.alice.get(&setup.path(&id)).await?.expect(200).json();
    ensure!(parts_of(&seen)?.is_empty() && seen["upload"]["received_bytes"] == 5_000, "{seen}");
    let file = setup.alice.post(&path).await?.expect(200).json();
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn unreachable_bucket_is_reported_and_loses_nothing(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let (id, part) = (id_of(&created), parts_of(&created)?[0].clone());
    setup.server.stop().await?;
    ensure!(setup.alice.put_part(&part, content.clone()).await?.status == 503);
    setup.server.start_again().await?;
    setup.alice.send_parts(&setup.room, &id, &content).await?;
    setup.server.stop().await?;
    let path = format!("{}/complete", setup.path(&id));
    ensure!(setup.alice.post(&path).await?.status == 503);
    setup.server.start_again().await?;
    let file = setup.alice.post(&path).await?.expect(200).json();
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn removed_files_and_uploads_leave_nothing_in_the_bucket(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(
        cloud,
        &[
            ("TIDINGS_FILES_DELETE_GRACE_S", "1"),
            ("TIDINGS_FILES_ORPHAN_AFTER_S", "20"),
            ("TIDINGS_FILES_CHECK_EVERY_S", "1"),
        ],
    )
    .await?;
    let sent = setup.alice.upload(&setup.room, "sent.png", "image/png", &png(1_000, 1)).await?;
    let seq = send_file(&setup.http, &setup.room, &sent).await?;
    let content = png(THREE_PARTS, 1);
    let mut begun = Vec::new();
    for _ in 0..2 {
        let created = setup.create(&content).await?;
        let part = &parts_of(&created)?[0];
        let _stored = setup.alice.put_part(part, bytes_of(part, &content)?).await?.expect(200);
        begun.push((id_of(&created), part.clone()));
    }
    ensure!(setup.server.open_uploads().await? > 0, "no part is stored");
    // One upload is given up, and the time of the other one has passed.
    let abandoned = format!("UPDATE files SET due_at = now() WHERE id = '{}'", begun[1].0);
    setup.stack.database().query(&abandoned).await?;
    let _removed = setup.alice.delete(&setup.path(&begun[0].0)).await?.expect(204);
    let (_, part) = &begun[0];
    ensure!(setup.alice.put_part(part, bytes_of(part, &content)?).await?.status == 404);
    let message = format!("/rooms/{}/messages/{seq}", setup.room);
    ensure!(setup.http.request(Method::DELETE, &message, None).await?.status < 300);
    // Wrong bytes are removed too.
    let wrong = setup.create(&png(5_000, 1)).await?;
    setup.alice.send_parts(&setup.room, &id_of(&wrong), &png(5_000, 2)).await?;
    let refused = setup.alice.post(&format!("{}/complete", setup.path(&id_of(&wrong)))).await?.expect(400);
    ensure!(refused.reason() == "checksum");
    for file in [&id_of(&sent), &begun[0].0, &begun[1].0, &id_of(&wrong)] {
        until(&format!("{file} is gone"), async || {
            let rows =
                setup.stack.database().query(&format!("SELECT id FROM files WHERE id = '{file}'")).await?;
            Ok(rows.is_empty() && setup.server.objects(file).await?.is_empty())
        })
        .await?;
    }
    ensure!(setup.server.open_uploads().await? == 0, "parts are left");
    ensure!(setup.stack.database().value("SELECT count(*) FROM file_parts").await? == "0");
    Ok(())
}
