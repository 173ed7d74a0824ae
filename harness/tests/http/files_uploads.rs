//! Files: an upload completes with all its bytes or not at all, also if the connection, the program or the bytes fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::files::{FileUser, FilesNode};
use tidings_harness::{Http, Stack};

pub async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

/// Bytes that begin as a PNG, and differ for each `seed`.
pub fn png(bytes: usize, seed: u8) -> Vec<u8> {
    let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0CRCC".to_vec();
    // One chunk of pixels up to the end of the content. They cannot be decoded, so nothing is removed and there is no
    // preview.
    let data = bytes.saturating_sub(content.len() + 12);
    content.extend_from_slice(&u32::try_from(data).unwrap_or(u32::MAX).to_be_bytes());
    content.extend_from_slice(b"IDAT");
    content.extend((0..data + 4).map(|index| (index % 251) as u8 ^ seed));
    content.truncate(bytes);
    content
}

pub fn id_of(file: &Value) -> String {
    file["id"].as_str().unwrap_or_default().to_owned()
}

pub fn upload_of(file: &Value) -> String {
    file["upload"]["url"].as_str().unwrap_or_default().to_owned()
}

/// Sends a message with the attachment of a complete file. Returns its seq.
pub async fn send_file(sender: &Http, room: &str, file: &Value) -> Result<u64> {
    let body = json!({"client_id": id_of(file), "attachments": [file["attachment"]]});
    let ack = sender.post(&format!("/rooms/{room}/messages"), body).await?.expect(201).body;
    ack["seq"].as_u64().context("no seq")
}

/// Waits until this number of bytes of an upload is in the folder.
async fn until_stored(node: &FilesNode, file: &str, bytes: usize) -> Result<()> {
    crate::webhooks::until("bytes in the folder", async || {
        Ok(std::fs::metadata(node.path_of(file)).is_ok_and(|found| found.len() >= bytes as u64))
    })
    .await
}

// Covers: POST /rooms/{room}/files, PATCH /rooms/{room}/files/{file}/content, GET /rooms/{room}/files/{file}.
// Covers: POST /rooms/{room}/files/{file}/complete, GET /rooms/{room}/messages/{seq}/files/{file}, GET /files/{file}.
#[tokio::test]
async fn file_in_chunks_is_downloaded_by_members_of_the_room() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let content = png(700_000, 1);
    let created = alice.create(&room, "Zoë.png", "image/png", &content).await?.expect(201).json();
    let (id, upload) = (id_of(&created), upload_of(&created));
    ensure!(created["state"] == "uploading" && created["upload"]["offset"] == 0, "{created}");
    let mut offset = 0;
    for chunk in content.chunks(300_000) {
        let reply = alice.append(&upload, offset, chunk.to_vec()).await?.expect(204);
        offset += chunk.len() as u64;
        ensure!(reply.offset() == Some(offset) && reply.header("upload-complete") == "?0", "{reply:?}");
    }
    let path = format!("/v1/rooms/{room}/files/{id}");
    ensure!(alice.get(&path).await?.expect(200).json()["upload"]["offset"] == content.len());
    let complete = format!("{path}/complete");
    let file = alice.post(&complete).await?.expect(200).json();
    let attachment = json!({"name": "Zoë.png", "file": id, "media_type": "image/png", "size": content.len()});
    ensure!(file["state"] == "ready" && file["attachment"] == attachment, "{file}");
    ensure!(alice.post(&complete).await?.expect(200).json() == file, "the second completion differs");
    let late = alice.append(&upload, 0, "x").await?.expect(409);
    ensure!(
        late.offset() == Some(content.len() as u64) && late.header("upload-complete") == "?1",
        "{late:?}"
    );

    let seq = send_file(&stack.http("alice"), &room, &file).await?;
    let shown = stack.http("bob").get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body;
    ensure!(shown["attachments"] == json!([attachment]), "{shown}");
    let got = bob.download(&room, seq, &id).await?.expect(200);
    ensure!(got.bytes == content && got.header("content-type") == "image/png", "{:?}", got.headers);
    let redirect = bob.get(&format!("/v1/rooms/{room}/messages/{seq}/files/{id}")).await?.expect(302);
    ensure!(redirect.header("location").starts_with(&format!("/v1/files/{id}?expires=")), "{redirect:?}");
    Ok(())
}

#[tokio::test]
async fn interrupted_upload_resumes_at_offset() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let content = png(900_000, 2);
    let created = alice.create(&room, "a.png", "image/png", &content).await?.expect(201).json();
    let (id, upload) = (id_of(&created), upload_of(&created));

    // The connection is closed in the middle of the body.
    let cut = alice.begin_append(&upload, 0, &content[..400_000]).await?;
    until_stored(&node, &id, 262_144).await?;
    drop(cut);
    crate::webhooks::until("the lock is free", async || {
        let reply = alice.append(&upload, 0, "x").await?.expect(409);
        let message = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        Ok(!message.contains("another request"))
    })
    .await?;
    let offset = alice.offset(&upload).await?;
    ensure!((262_144..=400_000).contains(&offset), "{offset}");

    // The connection hangs, and the client asks on another one.
    let end = usize::try_from(offset)? + 300_000;
    let part = &content[usize::try_from(offset)?..end];
    let mut hanging = alice.begin_append(&upload, offset, part).await?;
    until_stored(&node, &id, usize::try_from(offset)? + 262_144).await?;
    let busy = alice.append(&upload, offset, "x").await?.expect(409);
    ensure!(busy.offset().is_some_and(|reported| reported >= offset + 262_144), "{busy:?}");
    let offset = alice.offset(&upload).await?;
    ensure!(offset == end as u64, "{offset} of {end}");
    let ended = hanging.answer().await?;
    ensure!(ended == (409, Some(offset)), "{ended:?}");

    let rest = content[usize::try_from(offset)?..].to_vec();
    let _stored = alice.append(&upload, offset, rest).await?.expect(204);
    let file = alice.post(&format!("/v1/rooms/{room}/files/{id}/complete")).await?.expect(200).json();
    let seq = send_file(&stack.http("alice"), &room, &file).await?;
    ensure!(alice.download(&room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}

#[tokio::test]
async fn killed_replica_keeps_bytes_below_reported_offset() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let content = png(2_000_000, 3);
    let created = alice.create(&room, "a.png", "image/png", &content).await?.expect(201).json();
    let (id, upload) = (id_of(&created), upload_of(&created));
    let mut reported = 0;
    for round in 0..4 {
        let begin = usize::try_from(alice.offset(&upload).await?)?;
        ensure!(begin as u64 >= reported, "{reported} bytes were reported, {begin} are stored");
        let middle = begin + 100_000;
        reported = alice
            .append(&upload, begin as u64, content[begin..middle].to_vec())
            .await?
            .offset()
            .context("no offset")?;
        let part = &content[middle..middle + 300_000];
        let mut cut = alice.begin_append(&upload, middle as u64, part).await?;
        until_stored(&node, &id, middle + 262_144).await?;
        node.kill();
        ensure!(cut.answer().await.is_err(), "round {round}: the killed replica answered");
        node.start_again().await?;
    }
    let offset = alice.offset(&upload).await?;
    let rest = content[usize::try_from(offset)?..].to_vec();
    let _stored = alice.append(&upload, offset, rest).await?.expect(204);
    let file = alice.post(&format!("/v1/rooms/{room}/files/{id}/complete")).await?.expect(200).json();
    let seq = send_file(&stack.http("alice"), &room, &file).await?;
    ensure!(alice.download(&room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}

#[tokio::test]
async fn upload_with_wrong_checksum_is_reset() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (content, other) = (png(300_000, 4), png(300_000, 5));
    let created = alice.create(&room, "a.png", "image/png", &content).await?.expect(201).json();
    let (id, upload) = (id_of(&created), upload_of(&created));
    let complete = format!("/v1/rooms/{room}/files/{id}/complete");
    let _stored = alice.append(&upload, 0, other[..200_000].to_vec()).await?.expect(204);
    let missing = alice.post(&complete).await?.expect(409);
    ensure!(missing.reason() == "incomplete" && missing.offset() == Some(200_000), "{missing:?}");
    let _stored = alice.append(&upload, 200_000, other[200_000..].to_vec()).await?.expect(204);
    let wrong = alice.post(&complete).await?.expect(400);
    ensure!(wrong.reason() == "checksum" && wrong.json()["field"] == "sha256", "{wrong:?}");
    ensure!(wrong.offset() == Some(0) && alice.offset(&upload).await? == 0, "{wrong:?}");
    let _stored = alice.append(&upload, 0, content).await?.expect(204);
    ensure!(alice.post(&complete).await?.expect(200).json()["state"] == "ready");
    Ok(())
}

#[tokio::test]
async fn chunk_at_wrong_offset_or_from_other_user_is_refused() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let content = png(10_000, 6);
    let created = alice.create(&room, "a.png", "image/png", &content).await?.expect(201).json();
    let (id, upload) = (id_of(&created), upload_of(&created));
    let _stored = alice.append(&upload, 0, content[..4_000].to_vec()).await?.expect(204);
    for wrong in [0, 3_999, 4_001, u64::MAX] {
        let reply = alice.append(&upload, wrong, "xyz").await?.expect(409);
        ensure!(reply.offset() == Some(4_000) && reply.json()["code"] == "conflict", "{reply:?}");
    }
    // A chunk with a length that is too long is refused as a whole; without a length the bytes that fit are kept.
    let _refused = alice.append(&upload, 4_000, vec![0; 6_001]).await?.expect(413);
    ensure!(alice.offset(&upload).await? == 4_000);
    let mut streamed = alice.begin_append(&upload, 4_000, &[0; 6_001]).await?;
    let reply = streamed.answer().await?;
    ensure!(reply == (413, Some(10_000)), "{reply:?}");
    ensure!(std::fs::metadata(node.path_of(&id))?.len() == 10_000);
    for (user, path) in [
        (&bob, upload.clone()),
        (&alice, upload.replace(&room, "other")),
        (&alice, format!("/v1/rooms/{room}/files/0190f2a4-8d3e-7000-8000-0a1b2c3d4e5f/content")),
    ] {
        let _refused = user.append(&path, 10_000, "x").await?.expect(404);
        ensure!(user.send(user.request(Method::HEAD, &path)).await?.status == 404);
    }
    let nobody = node.user("");
    let _refused = nobody.append(&upload, 10_000, "x").await?.expect(401);
    let plain = alice.request(Method::PATCH, &upload).header("Upload-Offset", "10000").body("x");
    let _refused = alice.send(plain).await?.expect(400);
    for path in ["..%2F..%2Fetc%2Fpasswd", "a", "0190F2A4-8D3E-7000-8000-0A1B2C3D4E5F"] {
        let _refused =
            alice.append(&format!("/v1/rooms/{room}/files/{path}/content"), 0, "x").await?.expect(400);
    }
    Ok(())
}

#[tokio::test]
async fn two_replicas_on_one_folder_do_not_interleave_chunks() -> Result<()> {
    let stack = start_stack().await?;
    let nodes =
        [FilesNode::start(&stack, "files-0", &[]).await?, FilesNode::start(&stack, "files-1", &[]).await?];
    let users: Vec<FileUser> = nodes.iter().map(|node| node.user(&stack.token("alice"))).collect();
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let content = png(1_500_000, 7);
    let created = users[0].create(&room, "a.png", "image/png", &content).await?.expect(201).json();
    let (id, upload) = (id_of(&created), upload_of(&created));
    let hanging = users[0].begin_append(&upload, 0, &content[..300_000]).await?;
    until_stored(&nodes[0], &id, 262_144).await?;
    // A paused writer keeps the others away, so it cannot write between their bytes when it goes on.
    nodes[0].pause()?;
    let refused = users[1].append(&upload, 262_144, content[262_144..].to_vec()).await?.expect(409);
    ensure!(
        refused.json()["detail"].as_str().is_some_and(|it| it.contains("another request")),
        "{refused:?}"
    );
    ensure!(users[1].post(&format!("/v1/rooms/{room}/files/{id}/complete")).await?.status == 409);
    nodes[0].resume()?;
    drop(hanging);
    let chunks = async |user: FileUser| -> Result<()> {
        loop {
            let offset = usize::try_from(user.offset(&upload).await?)?;
            if offset == content.len() {
                return Ok(());
            }
            let end = content.len().min(offset + 50_000);
            let reply = user.append(&upload, offset as u64, content[offset..end].to_vec()).await?;
            ensure!(matches!(reply.status, 204 | 409), "{reply:?}");
        }
    };
    let all = async {
        tokio::try_join!(chunks(users[0].clone()), chunks(users[1].clone()), chunks(users[1].clone()))
    };
    tokio::time::timeout(Duration::from_secs(60), all).await??;
    let file = users[1].post(&format!("/v1/rooms/{room}/files/{id}/complete")).await?.expect(200).json();
    let seq = send_file(&stack.http("alice"), &room, &file).await?;
    ensure!(users[0].download(&room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}
