//! Limits of files: who may upload what, and how much.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tidings_harness::files::{FilesNode, RawAppend, sha256_hex};
use tokio::time::{sleep, timeout};

use crate::files_uploads::{id_of, png, send_file, start_stack, upload_of};

/// Ten times the grace period of a slow upload.
const SLOW_UPLOAD_TIMEOUT: Duration = Duration::from_secs(200);

/// Sends a byte of a body now and then, until the server ends the request. Returns its status and `Upload-Offset`.
async fn drip(mut request: RawAppend) -> Result<(u16, Option<u64>)> {
    loop {
        match timeout(Duration::from_secs(3), request.answer()).await {
            Ok(answer) => return answer,
            // The server may end the request at the same time.
            Err(_) => drop(request.send(b"x").await),
        }
    }
}

#[tokio::test]
async fn uploads_above_a_limit_are_refused_with_its_name() -> Result<()> {
    let stack = start_stack().await?;
    let settings = [
        ("TIDINGS_FILES_MAX_FILE_BYTES", "1000"),
        ("TIDINGS_FILES_MAX_USER_BYTES", "2500"),
        ("TIDINGS_FILES_MAX_USER_FILES", "4"),
        ("TIDINGS_FILES_MAX_USER_UPLOADS", "2"),
        ("TIDINGS_FILES_MAX_ROOM_BYTES", "3000"),
    ];
    let node = FilesNode::start(&stack, "files", &settings).await?;
    let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
    let http = stack.http("alice");
    let (room, other) = (http.new_room(&["bob"]).await?, http.new_room(&["bob"]).await?);
    let large = alice.create(&room, "a", "a/b", &png(1_001, 1)).await?.expect(413).json();
    ensure!(large["code"] == "too_large" && large["field"] == "size", "{large}");

    let reason =
        async |user: &tidings_harness::files::FileUser, room: &str, bytes: usize| -> Result<String> {
            let reply = user.create(room, "a", "a/b", &png(bytes, 1)).await?;
            ensure!(matches!(reply.status, 201 | 413), "{reply:?}");
            Ok(reply.reason())
        };
    let first = alice.create(&room, "a", "a/b", &png(1_000, 1)).await?.expect(201).json();
    let second = alice.create(&room, "a", "a/b", &png(1_000, 1)).await?.expect(201).json();
    ensure!(reason(&alice, &room, 1).await? == "user_uploads");
    for file in [&first, &second] {
        let _stored = alice.append(&upload_of(file), 0, png(1_000, 1)).await?.expect(204);
        let path = format!("/v1/rooms/{room}/files/{}/complete", id_of(file));
        let _complete = alice.post(&path).await?.expect(200);
    }
    ensure!(reason(&alice, &other, 501).await? == "user_bytes");
    ensure!(reason(&bob, &room, 1_000).await?.is_empty());
    ensure!(reason(&bob, &room, 1).await? == "room_bytes");
    ensure!(reason(&bob, &other, 1).await?.is_empty());
    for _ in 0..2 {
        alice.upload(&other, "a", "a/b", b"x").await?;
    }
    ensure!(reason(&alice, &other, 1).await? == "user_files");
    // A file that is given up counts no more. One that a message shows cannot be given up.
    let seq = send_file(
        &http,
        &room,
        &alice.get(&format!("/v1/rooms/{room}/files/{}", id_of(&first))).await?.json(),
    )
    .await?;
    let refused = alice.delete(&format!("/v1/rooms/{room}/files/{}", id_of(&first))).await?.expect(409);
    ensure!(refused.reason() == "named", "{refused:?}");
    let given_up = format!("/v1/rooms/{room}/files/{}", id_of(&second));
    let _refused = bob.delete(&given_up).await?.expect(404);
    let _removed = alice.delete(&given_up).await?.expect(204);
    let _unknown = alice.get(&given_up).await?.expect(404);
    ensure!(!node.path_of(&id_of(&second)).exists());
    ensure!(reason(&alice, &other, 900).await?.is_empty());
    ensure!(alice.download(&room, seq, &id_of(&first)).await?.status == 200);
    let metrics = node.metrics().await?;
    for limit in ["file_bytes", "user_bytes", "user_files", "user_uploads", "room_bytes"] {
        let line = format!("tidings_files_refused_total{{limit=\"{limit}\"}} 1");
        ensure!(metrics.contains(&line), "{limit}: {metrics}");
    }
    Ok(())
}

// Covers: DELETE /rooms/{room}/files/{file}.
#[tokio::test]
async fn concurrent_uploads_stay_within_limit() -> Result<()> {
    let stack = start_stack().await?;
    let settings = [("TIDINGS_FILES_MAX_USER_BYTES", "5000"), ("TIDINGS_FILES_MAX_USER_UPLOADS", "100")];
    let node = FilesNode::start(&stack, "files", &settings).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let requests = (0..20).map(|_| {
        let (alice, room) = (alice.clone(), room.clone());
        tokio::spawn(async move { alice.create(&room, "a", "a/b", &png(1_000, 1)).await })
    });
    let mut statuses = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        statuses.push(request.await??.status);
    }
    statuses.sort_unstable();
    ensure!(statuses[..5] == [201; 5] && statuses[5..] == [413; 15], "{statuses:?}");
    Ok(())
}

#[tokio::test]
async fn upload_without_permission_or_valid_fields_is_refused() -> Result<()> {
    let stack = start_stack().await?;
    let settings = [("TIDINGS_FILES_MEDIA_TYPES", "image/*"), ("TIDINGS_FILES_REQUESTS_PER_SECOND", "5")];
    let node = FilesNode::start(&stack, "files", &settings).await?;
    let user = |name: &str| node.user(&stack.token(name));
    let http = stack.http("alice");
    let room = http.new_room(&["bob", "carol"]).await?;
    http.put_member(&room, "carol", "guest").await?.expect(200);
    let content = png(100, 1);
    for (name, status, code) in [("carol", 403, "forbidden"), ("eve", 404, "not_found")] {
        let refused = user(name).create(&room, "a", "image/png", &content).await?;
        ensure!(refused.status == status && refused.json()["code"] == code, "{refused:?}");
    }
    let _refused = user("bob").create("no:such:room", "a", "image/png", &content).await?.expect(404);
    let _refused = user("bob").create("a%20b", "a", "image/png", &content).await?.expect(400);
    let _refused = node.user("").create(&room, "a", "image/png", &content).await?.expect(401);
    let form = json!({"name": "a", "media_type": "image/png", "size": 100, "sha256": "ab"});
    let refused = user("bob").create_with(&room, &form).await?.expect(400);
    ensure!(refused.json()["field"] == "sha256", "{refused:?}");
    let refused = user("bob").create(&room, "a", "text/html", &content).await?.expect(400);
    ensure!(refused.reason() == "media_type", "{refused:?}");

    // A file that only claims to be an image is refused when its bytes are there.
    let html = b"<html><script>alert(1)</script>";
    let form =
        json!({"name": "a", "media_type": "image/png", "size": html.len(), "sha256": sha256_hex(html)});
    let created = user("bob").create_with(&room, &form).await?.expect(201).json();
    let _stored = user("bob").append(&upload_of(&created), 0, html.to_vec()).await?.expect(204);
    let complete = format!("/v1/rooms/{room}/files/{}/complete", id_of(&created));
    let refused = user("bob").post(&complete).await?.expect(400);
    ensure!(refused.reason() == "media_type" && refused.offset() == Some(0), "{refused:?}");

    // Each user has a limit of requests of their own.
    let mut replies = Vec::new();
    for _ in 0..60 {
        replies.push(user("carol").get(&format!("/v1/rooms/{room}/files/x")).await?);
    }
    let limited = replies.iter().find(|reply| reply.status == 429);
    ensure!(limited.is_some_and(|reply| reply.json()["retry_after_ms"].is_u64()), "{replies:?}");
    let _created = user("alice").create(&room, "a", "image/png", &content).await?.expect(201);

    http.archive_room(&room).await?.expect(204);
    let refused = user("alice").create(&room, "a", "image/png", &content).await?.expect(409);
    ensure!(refused.json()["code"] == "conflict", "{refused:?}");
    let document = node.user("").get("/v1/files/openapi.json").await?.expect(200).json();
    ensure!(document["openapi"] == "3.1.0" && document["paths"].as_object().is_some_and(|it| it.len() == 11));
    Ok(())
}

#[tokio::test]
async fn slow_uploads_end_and_leave_their_slots_to_others() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let names: Vec<String> = (0..32).map(|account| format!("slow{account}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).chain(["bob"]).collect();
    let room = stack.http("alice").new_room(&members).await?;
    let content = png(10_000, 1);
    // All slots of the replica: 8 for each of 32 accounts.
    let mut dripping = Vec::new();
    for name in &names {
        let slow = node.user(&stack.token(name));
        for _ in 0..8 {
            let created = slow.create(&room, "a", "image/png", &content).await?.expect(201).json();
            let request = slow.begin_append(&upload_of(&created), 0, &content[..100]).await?;
            dripping.push(tokio::spawn(drip(request)));
        }
    }
    let bob = node.user(&stack.token("bob"));
    let uploading = async {
        let created = bob.create(&room, "a", "image/png", &content).await?.expect(201).json();
        loop {
            let reply = bob.append(&upload_of(&created), 0, content.clone()).await?;
            if reply.status == 204 {
                return anyhow::Ok(());
            }
            ensure!(reply.status == 503, "{reply:?}");
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SLOW_UPLOAD_TIMEOUT, uploading).await??;
    for answer in timeout(SLOW_UPLOAD_TIMEOUT, try_join_all(dripping)).await?? {
        let (status, offset) = answer?;
        // The received bytes are kept.
        ensure!(status == 400 && offset.is_some_and(|offset| offset > 100), "{status} {offset:?}");
    }
    Ok(())
}
