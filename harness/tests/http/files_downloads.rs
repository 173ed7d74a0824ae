//! Who gets a file: those who see the message that names it, and nobody else; and how browsers get it.

use anyhow::{Result, ensure};
use reqwest::Method;
use reqwest::header::{ORIGIN, RANGE};
use serde_json::json;
use tidings_harness::Stack;
use tidings_harness::files::FilesNode;

use crate::files_uploads::{id_of, png, send_file, start_stack, upload_of};

const OTHER_FILE: &str = "0190f2a4-8d3e-7000-8000-0a1b2c3d4e5f";

#[tokio::test]
async fn non_viewer_requesting_download_url_is_refused() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let user = |name: &str| node.user(&stack.token(name));
    let (alice, bob, carol, eve) = (user("alice"), user("bob"), user("carol"), user("eve"));
    let http = stack.http("alice");
    let room = http.new_room(&["bob", "carol"]).await?;
    let file = alice.upload(&room, "a.png", "image/png", &png(1_000, 1)).await?;
    let id = id_of(&file);

    // Before a message names it nobody gets it, whatever message is given.
    let plain =
        http.send(&room, "plain", "hello").await?.expect(201).body["seq"].as_u64().unwrap_or_default();
    for seq in [1, plain, plain + 1_000_000] {
        let _refused = alice.address(&room, seq, &id).await?.expect(404);
    }
    let body = json!({
        "client_id": "private", "content": "for bob", "attachments": [file["attachment"]],
        "visible_to": {"users": ["bob"]}
    });
    let ack = http.post(&format!("/rooms/{room}/messages"), body).await?.expect(201).body;
    let seq = ack["seq"].as_u64().unwrap_or_default();
    for (reader, status) in [(&alice, 200), (&bob, 200), (&carol, 404), (&eve, 404), (&node.user(""), 401)] {
        ensure!(reader.address(&room, seq, &id).await?.status == status, "{status}");
    }
    let _refused = bob.address(&room, seq, OTHER_FILE).await?.expect(404);

    // A removed member, and a member of another room that names the id.
    let shown = send_file(&http, &room, &file).await?;
    let _address = carol.address(&room, shown, &id).await?.expect(200);
    http.remove_member(&room, "carol").await?.expect(200);
    let _refused = carol.address(&room, shown, &id).await?.expect(404);
    let eves = stack.http("eve").new_room(&["bob"]).await?;
    let stolen = send_file(&stack.http("eve"), &eves, &file).await?;
    let _refused = eve.address(&eves, stolen, &id).await?.expect(404);
    // Bob sees Alice's file, but cannot pass it on with a message of his own.
    let passed = json!({"client_id": "pass", "attachments": [file["attachment"]]});
    let ack = stack.http("bob").post(&format!("/rooms/{room}/messages"), passed).await?.expect(201).body;
    let _refused = bob.address(&room, ack["seq"].as_u64().unwrap_or_default(), &id).await?.expect(404);

    // The message is deleted.
    http.request(Method::DELETE, &format!("/rooms/{room}/messages/{seq}"), None).await?;
    let _refused = bob.address(&room, seq, &id).await?.expect(404);
    let _address = bob.address(&room, shown, &id).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn download_url_altered_or_expired_is_refused() -> Result<()> {
    let stack = start_stack().await?;
    let old = FilesNode::start(&stack, "old", &[("TIDINGS_FILES_SECRET", "the old secret of files")]).await?;
    let both = "the new secret of files\nthe old secret of files";
    let node = FilesNode::start(&stack, "files", &[("TIDINGS_FILES_SECRET", both)]).await?;
    let (alice, nobody) = (node.user(&stack.token("alice")), node.user(""));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (first, second) = (
        alice.upload(&room, "a.png", "image/png", &png(1_000, 1)).await?,
        alice.upload(&room, "b.png", "image/png", &png(1_000, 2)).await?,
    );
    let seq = send_file(&stack.http("alice"), &room, &first).await?;
    let address = alice.address(&room, seq, &id_of(&first)).await?.expect(200).json();
    let url = address["url"].as_str().unwrap_or_default().to_owned();
    let _content = nobody.get(&url).await?.expect(200);
    let expires: i64 =
        url.split("expires=").nth(1).and_then(|it| it.split('&').next()).unwrap_or_default().parse()?;
    let remaining = expires - i64::try_from(tidings_harness::clock::now().as_secs())?;
    ensure!((200..=301).contains(&remaining), "{remaining}");

    for forged in [
        url.replace(&id_of(&first), &id_of(&second)),
        url.replace(&format!("expires={expires}"), &format!("expires={}", expires + 1)),
        url.replace("signature=", "signature=A"),
        format!("{url}&review=1"),
        url.split("&signature").next().unwrap_or_default().to_owned(),
        format!("/v1/files/{}", id_of(&first)),
    ] {
        let refused = nobody.get(&forged).await?.expect(403);
        ensure!(refused.json()["code"] == "forbidden" && refused.reason().is_empty(), "{forged}");
    }
    // An address of an hour ago, with the signature that it had.
    let expired = expires - 3_600;
    let signed = tidings_harness::files::signature(&id_of(&first), expired, "the new secret of files");
    let path = format!("/v1/files/{}?expires={expired}&signature={signed}", id_of(&first));
    ensure!(nobody.get(&path).await?.expect(403).reason() == "expired");

    // While the secret is replaced, new replicas accept addresses of old ones.
    let of_old =
        old.user(&stack.token("alice")).address(&room, seq, &id_of(&first)).await?.expect(200).json();
    let _content = nobody.get(of_old["url"].as_str().unwrap_or_default()).await?.expect(200);
    ensure!(old.user("").get(&url).await?.status == 403);
    Ok(())
}

#[tokio::test]
async fn content_is_served_in_ranges_and_can_run_nothing() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let (alice, nobody) = (node.user(&stack.token("alice")), node.user(""));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let html = b"<html><script>alert(document.domain)</script></html>".to_vec();
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>".to_vec();
    for (name, claimed, content, served, shown) in [
        ("a.png", "image/png", png(5_000, 1), "image/png", true),
        ("a.png", "image/png", html.clone(), "application/octet-stream", false),
        ("a.svg", "image/svg+xml", svg, "application/octet-stream", false),
        ("a.html", "text/html", html, "application/octet-stream", false),
        ("a.pdf", "application/pdf", b"%PDF-1.7 x".to_vec(), "application/pdf", false),
        ("a\"; x=.txt", "text/plain", b"hello".to_vec(), "application/octet-stream", false),
    ] {
        let file = alice.upload(&room, name, claimed, &content).await?;
        let seq = send_file(&stack.http("alice"), &room, &file).await?;
        let got = alice.download(&room, seq, &id_of(&file)).await?.expect(200);
        ensure!(got.bytes == content && got.header("content-type") == served, "{name}: {:?}", got.headers);
        let disposition = if shown { "inline; " } else { "attachment; " };
        ensure!(got.header("content-disposition").starts_with(disposition), "{name}: {:?}", got.headers);
        ensure!(got.header("x-content-type-options") == "nosniff", "{:?}", got.headers);
        ensure!(got.header("content-security-policy") == "default-src 'none'; sandbox", "{:?}", got.headers);
        ensure!(got.header("cross-origin-resource-policy") == "cross-origin", "{:?}", got.headers);
    }
    let content = png(5_000, 1);
    let file = alice.upload(&room, "a.png", "image/png", &content).await?;
    let seq = send_file(&stack.http("alice"), &room, &file).await?;
    let address = alice.address(&room, seq, &id_of(&file)).await?.expect(200).json();
    let url = address["url"].as_str().unwrap_or_default();
    let range = async |range: &str| nobody.send(nobody.request(Method::GET, url).header(RANGE, range)).await;
    let part = range("bytes=1000-1999").await?.expect(206);
    ensure!(part.bytes == content[1_000..2_000] && part.header("content-range") == "bytes 1000-1999/5000");
    ensure!(range("bytes=4990-").await?.expect(206).bytes == content[4_990..]);
    ensure!(range("bytes=5000-").await?.status == 416);
    let whole = nobody.send(nobody.request(Method::GET, url).header(ORIGIN, "http://localhost:5173")).await?;
    ensure!(whole.header("access-control-allow-origin") == "http://localhost:5173", "{:?}", whole.headers);
    let foreign = nobody.send(nobody.request(Method::GET, url).header(ORIGIN, "https://evil.test")).await?;
    ensure!(foreign.header("access-control-allow-origin").is_empty(), "{:?}", foreign.headers);
    let head = nobody.send(nobody.request(Method::HEAD, url)).await?.expect(200);
    ensure!(head.header("content-length") == "5000" && head.bytes.is_empty());
    // An upload that is not complete has no address.
    let open = alice.create(&room, "b.png", "image/png", &content).await?.expect(201).json();
    let _stored = alice.append(&upload_of(&open), 0, content).await?.expect(204);
    let body = json!({"client_id": "open", "attachments": [
        {"file": id_of(&open), "name": "b.png", "media_type": "image/png", "size": 5_000}
    ]});
    let ack = stack.http("alice").post(&format!("/rooms/{room}/messages"), body).await?.expect(201).body;
    let _refused =
        alice.address(&room, ack["seq"].as_u64().unwrap_or_default(), &id_of(&open)).await?.expect(404);
    Ok(())
}

#[tokio::test]
async fn file_of_a_message_that_is_being_stored_is_found() -> Result<()> {
    let limits = ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST"];
    let builder = Stack::builder().gateways(0);
    let stack =
        limits.iter().fold(builder, |builder, name| builder.persistence_env(name, 10_000)).start().await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
    let http = stack.http("alice");
    let room = http.new_room(&["bob"]).await?;
    let file = alice.upload(&room, "a.png", "image/png", &png(1_000, 1)).await?;
    // The reader asks while the message is being stored. Many attempts meet each moment of this.
    for number in 0..200 {
        let body = json!({
            "client_id": number.to_string(), "ack": "accepted", "attachments": [file["attachment"]]
        });
        let ack = http.post(&format!("/rooms/{room}/messages"), body).await?.body;
        let reply = bob.address(&room, ack["seq"].as_u64().unwrap_or_default(), &id_of(&file)).await?;
        ensure!(reply.status == 200, "{number}: {ack} {reply:?}");
    }
    Ok(())
}
