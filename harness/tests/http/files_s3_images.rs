//! Images in a bucket: they lose their metadata, and have previews, as those in a folder.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::Value;
use tidings_harness::files::FilesNode;

use crate::files_previews::{POSITION, contains, photo, preview_address, url_of};
use crate::files_s3::Setup;
use crate::files_uploads::{id_of, send_file};
use crate::webhooks::until;

/// The objects of a file: the upload, the image without its metadata, and the preview.
fn objects(setup: &Setup, file: &str) -> [PathBuf; 3] {
    let original = setup.server.path_of(file);
    [original.clone(), original.with_extension("clean"), original.with_extension("preview")]
}

fn existing(setup: &Setup, file: &str) -> [bool; 3] {
    objects(setup, file).map(|path| path.exists())
}

async fn upload_photo(setup: &Setup, content: &[u8]) -> Result<Value> {
    setup.alice.upload(&setup.room, "photo.jpg", "image/jpeg", content).await
}

// Covers: POST /rooms/{room}/files/{file}/complete, GET /rooms/{room}/messages/{seq}/files/{file}.
#[tokio::test]
async fn photo_in_a_bucket_loses_its_position_and_leaves_no_object() -> Result<()> {
    let setup = Setup::start(&[
        ("TIDINGS_FILES_DELETE_GRACE_S", "1"),
        ("TIDINGS_FILES_ORPHAN_AFTER_S", "15"),
        ("TIDINGS_FILES_CHECK_EVERY_S", "1"),
    ])
    .await?;
    let content = photo()?;
    let file = upload_photo(&setup, &content).await?;
    let (id, attachment) = (id_of(&file), &file["attachment"]);
    ensure!(attachment["width"] == 800 && attachment["height"] == 1_200, "{file}");
    ensure!(file["size"] == content.len() && attachment["size"].as_u64() < file["size"].as_u64(), "{file}");
    ensure!(existing(&setup, &id) == [false, true, true], "{:?}", existing(&setup, &id));
    ensure!(setup.complete(&id).await?.expect(200).json() == file, "the second completion differs");
    let seq = send_file(&setup.http, &setup.room, &file).await?;

    let got = setup.bob.download(&setup.room, seq, &id).await?.expect(200);
    ensure!(attachment["size"] == got.bytes.len() && !contains(&got.bytes, POSITION));
    ensure!(got.header("content-type") == "image/jpeg", "{:?}", got.headers);
    let address = preview_address(&setup.bob, &setup.room, seq, &file).await?.expect(200).json();
    ensure!(url_of(&address).starts_with(&setup.server.url()), "{address}");
    let preview = setup.bob.get(url_of(&address)).await?.expect(200);
    ensure!(preview.bytes.len() < got.bytes.len() && !contains(&preview.bytes, POSITION));
    ensure!(preview.header("content-type") == "image/jpeg", "{:?}", preview.headers);
    ensure!(preview.header("content-disposition").starts_with("inline; "), "{:?}", preview.headers);
    // The URL of one object does not serve another.
    for forged in ["", ".clean"] {
        let refused = setup.bob.get(&url_of(&address).replace(".preview", forged)).await?;
        ensure!(refused.status == 403, "{refused:?}");
    }

    // As if the removal of the upload had failed.
    std::fs::write(setup.server.path_of(&id), &content)?;
    let message = format!("/rooms/{}/messages/{seq}", setup.room);
    ensure!(setup.http.request(Method::DELETE, &message, None).await?.status < 300);
    until("no object is left", async || Ok(existing(&setup, &id) == [false; 3])).await
}

#[tokio::test]
async fn simultaneous_completions_of_a_photo_give_one_answer() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let other = FilesNode::start_with_bucket(&setup.stack, "other", &setup.server, &[]).await?;
    let (elsewhere, content) = (other.user(&setup.stack.token("alice")), photo()?);
    for _ in 0..5 {
        let created = setup.alice.create(&setup.room, "photo.jpg", "image/jpeg", &content).await?;
        let id = id_of(&created.expect(201).json());
        setup.alice.send_parts(&setup.room, &id, &content).await?;
        let path = format!("{}/complete", setup.path(&id));
        let (a, b) = tokio::join!(setup.alice.post(&path), elsewhere.post(&path));
        for answer in [a?, b?] {
            // One of them may meet the other one in the middle, and then says so.
            ensure!([200, 409, 503].contains(&answer.status), "{answer:?}");
        }
        let file = setup.complete(&id).await?.expect(200).json();
        ensure!(existing(&setup, &id) == [false, true, true], "{:?}", existing(&setup, &id));
        let seq = send_file(&setup.http, &setup.room, &file).await?;
        let got = setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes;
        ensure!(file["attachment"]["size"] == got.len() && !contains(&got, POSITION));
    }
    Ok(())
}

#[tokio::test]
async fn operator_may_keep_metadata_and_limit_images_in_a_bucket() -> Result<()> {
    let setup = Setup::start(&[("TIDINGS_FILES_KEEP_METADATA", "true")]).await?;
    let content = photo()?;
    let file = upload_photo(&setup, &content).await?;
    ensure!(existing(&setup, &id_of(&file)) == [true, false, true], "{file}");
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id_of(&file)).await?.expect(200).bytes == content);

    // An image whose metadata cannot be removed is refused, whatever type it declares.
    let small = [("TIDINGS_FILES_MAX_IMAGE_BYTES", "2000")];
    let limiting = FilesNode::start_with_bucket(&setup.stack, "limiting", &setup.server, &small).await?;
    let limited = limiting.user(&setup.stack.token("alice"));
    let hidden = limited.create(&setup.room, "photo.bin", "application/x-photo", &content).await?;
    let id = id_of(&hidden.expect(201).json());
    limited.send_parts(&setup.room, &id, &content).await?;
    let refused = limited.post(&format!("{}/complete", setup.path(&id))).await?.expect(400);
    ensure!(refused.reason() == "image_bytes", "{refused:?}");
    ensure!(existing(&setup, &id) == [false; 3], "{:?}", existing(&setup, &id));
    let _unknown = limited.get(&setup.path(&id)).await?.expect(404);
    Ok(())
}
