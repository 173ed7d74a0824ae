//! Files in a bucket: clients send and fetch the bytes at presigned URLs, which are good for one thing only.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use reqwest::header::RANGE;
use serde_json::{Value, json};
use tidings_harness::files::{FileUser, FilesNode, Reply, S3Server, bytes_of, sha256_hex};
use tidings_harness::{Http, Stack};

use crate::files_uploads::{id_of, png, send_file, start_stack};

/// A size of three parts.
pub const THREE_PARTS: usize = (20 << 20) + 7;

/// A system whose files are in a bucket, and the room of Alice and Bob.
pub struct Setup {
    pub stack: Stack,
    pub server: S3Server,
    pub node: FilesNode,
    pub alice: FileUser,
    pub bob: FileUser,
    pub http: Http,
    pub room: String,
}

impl Setup {
    pub async fn start(settings: &[(&str, &str)]) -> Result<Setup> {
        let stack = start_stack().await?;
        let server = S3Server::start(&stack).await?;
        let node = FilesNode::start_with_bucket(&stack, "files", &server, settings).await?;
        let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
        let http = stack.http("alice");
        let room = http.new_room(&["bob"]).await?;
        Ok(Setup { stack, server, node, alice, bob, http, room })
    }

    /// The path of a file of Alice.
    pub fn path(&self, file: &str) -> String {
        format!("/v1/rooms/{}/files/{file}", self.room)
    }

    pub async fn create(&self, content: &[u8]) -> Result<Value> {
        Ok(self.alice.create(&self.room, "a.png", "image/png", content).await?.expect(201).json())
    }

    pub async fn complete(&self, file: &str) -> Result<Reply> {
        self.alice.post(&format!("{}/complete", self.path(file))).await
    }
}

/// The parts to send in an answer.
pub fn parts_of(file: &Value) -> Result<&Vec<Value>> {
    file["upload"]["parts"].as_array().with_context(|| format!("no parts: {file}"))
}

fn url_of(part: &Value) -> &str {
    part["url"].as_str().unwrap_or_default()
}

// Covers: POST /rooms/{room}/files, GET /rooms/{room}/files/{file}, POST /rooms/{room}/files/{file}/complete.
#[tokio::test]
async fn small_file_is_one_part_and_its_url_ends_with_the_upload() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let content = png(5_000, 1);
    let created = setup.create(&content).await?;
    let id = id_of(&created);
    let parts = parts_of(&created)?;
    ensure!(created["upload"]["kind"] == "parts" && created["upload"]["received_bytes"] == 0, "{created}");
    ensure!(parts.len() == 1 && url_of(&parts[0]).starts_with(&setup.server.url()), "{created}");
    ensure!(
        (&parts[0]["number"], &parts[0]["offset"], &parts[0]["size"])
            == (&json!(1), &json!(0), &json!(5_000))
    );
    // The service itself takes no bytes.
    let content_path = format!("{}/content", setup.path(&id));
    ensure!(setup.alice.append(&content_path, 0, content.clone()).await?.expect(409).reason() == "parts");
    ensure!(setup.alice.send(setup.alice.request(Method::HEAD, &content_path)).await?.status == 409);
    ensure!(setup.complete(&id).await?.expect(409).reason() == "incomplete");
    // The signature covers the length.
    for length in [4_999, 5_001] {
        let _refused = setup.alice.put_part(&parts[0], png(length, 1)).await?.expect(403);
    }
    let _stored = setup.alice.put_part(&parts[0], content.clone()).await?.expect(200);
    let seen = setup.alice.get(&setup.path(&id)).await?.expect(200).json();
    ensure!(parts_of(&seen)?.is_empty() && seen["upload"]["received_bytes"] == 5_000, "{seen}");
    // The object exists only after the completion.
    ensure!(!setup.server.path_of(&id).exists());
    let _unknown = setup.bob.post(&format!("{}/complete", setup.path(&id))).await?.expect(404);
    let file = setup.complete(&id).await?.expect(200).json();
    ensure!(
        file["state"] == "ready" && file["attachment"]["file"] == id && file["upload"].is_null(),
        "{file}"
    );
    ensure!(std::fs::read(setup.server.path_of(&id))? == content);
    ensure!(setup.complete(&id).await?.expect(200).json() == file, "the second completion differs");
    // Other bytes of the same length cannot replace the checked ones.
    let _refused = setup.alice.put_part(&parts[0], png(5_000, 2)).await?.expect(404);
    ensure!(std::fs::read(setup.server.path_of(&id))? == content && setup.server.stored_parts()? == 0);
    Ok(())
}

#[tokio::test]
async fn url_of_a_part_is_good_for_that_part_only() -> Result<()> {
    let setup = Setup::start(&[("TIDINGS_FILES_MAX_FILE_BYTES", "30000000")]).await?;
    let large = setup.create(&png(THREE_PARTS, 1)).await?;
    let parts = parts_of(&large)?;
    ensure!(parts.len() == 3 && parts[2]["offset"] == (16 << 20), "{large}");
    ensure!(parts[2]["size"] == (4 << 20) + 7, "{large}");
    // Small files, because a server may refuse a large body before it has read it.
    let content = png(5_000, 1);
    let (first, second) = (setup.create(&content).await?, setup.create(&content).await?);
    let (parts, others) = (parts_of(&first)?, parts_of(&second)?);
    let value = |part: &Value, name: &str| {
        let pair = url_of(part).split(['?', '&']).find(|pair| pair.starts_with(&format!("{name}=")));
        pair.unwrap_or_default().to_owned()
    };
    let (upload, other_upload) = (value(&parts[0], "uploadId"), value(&others[0], "uploadId"));
    ensure!(!upload.is_empty() && upload != other_upload);
    let bytes = bytes_of(&parts[0], &content)?;
    for foreign in [
        url_of(&parts[0]).replace("partNumber=1", "partNumber=2"),
        url_of(&parts[0]).replace("partNumber=1", "partNumber=9"),
        url_of(&parts[0]).replace(&upload, &other_upload),
        url_of(&parts[0]).replace(&id_of(&first), &id_of(&second)),
        url_of(&parts[0]).replace("X-Amz-Expires=3600", "X-Amz-Expires=86400"),
        url_of(&parts[0]).split("&X-Amz-Signature").next().unwrap_or_default().to_owned(),
        url_of(&parts[0]).split('?').next().unwrap_or_default().to_owned(),
    ] {
        ensure!(foreign != url_of(&parts[0]));
        let refused = setup.alice.put_part(&json!({"url": foreign}), bytes.clone()).await?;
        // 400 without a signature.
        ensure!([400, 403].contains(&refused.status), "{foreign}: {refused:?}");
    }
    // Nor does it read or delete.
    for method in [Method::GET, Method::DELETE] {
        let request = setup.alice.request(method, url_of(&parts[0]));
        ensure!(setup.alice.send(request).await?.status == 403);
    }
    ensure!(setup.server.stored_parts()? == 0, "a refused part was stored");
    // Only its uploader gets the URLs.
    let _unknown = setup.bob.get(&setup.path(&id_of(&first))).await?.expect(404);
    let form = json!({"name": "a", "media_type": "a/b", "size": 30_000_001, "sha256": sha256_hex(b"")});
    let refused = setup.alice.create_with(&setup.room, &form).await?.expect(413);
    ensure!(refused.json()["field"] == "size", "{refused:?}");
    Ok(())
}

// Covers: GET /rooms/{room}/messages/{seq}/files/{file}.
#[tokio::test]
async fn download_leads_to_the_bucket_and_can_run_nothing() -> Result<()> {
    let setup = Setup::start(&[]).await?;
    let html = b"<html><script>alert(document.domain)</script></html>".to_vec();
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>".to_vec();
    for (name, claimed, content, served, shown) in [
        ("Zoë 🙂.png", "image/png", png(5_000, 1), "image/png", true),
        ("a.png", "image/png", html.clone(), "application/octet-stream", false),
        ("a.svg", "image/svg+xml", svg, "application/octet-stream", false),
        ("a.html", "text/html", html, "application/octet-stream", false),
        ("a.pdf", "application/pdf", b"%PDF-1.7 x".to_vec(), "application/pdf", false),
        ("a\"; x=&#+.txt", "text/plain", b"hello".to_vec(), "application/octet-stream", false),
    ] {
        let file = setup.alice.upload(&setup.room, name, claimed, &content).await?;
        let seq = send_file(&setup.http, &setup.room, &file).await?;
        let got = setup.bob.download(&setup.room, seq, &id_of(&file)).await?.expect(200);
        ensure!(got.bytes == content && got.header("content-type") == served, "{name}: {:?}", got.headers);
        let disposition = if shown { "inline; " } else { "attachment; " };
        ensure!(got.header("content-disposition").starts_with(disposition), "{name}: {:?}", got.headers);
        ensure!(got.header("cache-control") == "private, max-age=300, immutable", "{:?}", got.headers);
    }
    let file = setup.alice.upload(&setup.room, "a.png", "image/png", &png(5_000, 1)).await?;
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    let path = format!("/v1/rooms/{}/messages/{seq}/files/{}", setup.room, id_of(&file));
    let redirect = setup.bob.get(&path).await?.expect(302);
    let url = redirect.header("location").to_owned();
    ensure!(url.starts_with(&setup.server.url()) && url.contains("X-Amz-Expires=300"), "{url}");
    let range = setup.bob.request(Method::GET, &url).header(RANGE, "bytes=1000-1999");
    ensure!(setup.bob.send(range).await?.expect(206).bytes == png(5_000, 1)[1_000..2_000]);
    for forged in [
        url.replace("response-content-type=image%2Fpng", "response-content-type=text%2Fhtml"),
        url.replace("response-content-disposition=inline", "response-content-disposition=attachment"),
        url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
        url.split('?').next().unwrap_or_default().to_owned(),
    ] {
        ensure!(forged != url && setup.bob.get(&forged).await?.status == 403, "{forged}");
    }
    let request = setup.bob.request(Method::PUT, &url).body("other bytes");
    ensure!(setup.bob.send(request).await?.status == 403);
    let eve = setup.node.user(&setup.stack.token("eve"));
    ensure!(eve.get(&path).await?.status == 404);
    Ok(())
}

// Covers: GET /files/held, POST /files/{file}/release, POST /files/{file}/reject.
#[tokio::test]
async fn held_object_is_fetched_by_admins_only() -> Result<()> {
    let setup = Setup::start(&[("TIDINGS_FILES_HOLD", "true")]).await?;
    let admin = setup.node.user(&setup.stack.admin_token("scanner"));
    let upload = async |seed| {
        let file = setup.alice.upload(&setup.room, "a.png", "image/png", &png(1_000, seed)).await?;
        anyhow::Ok((id_of(&file), send_file(&setup.http, &setup.room, &file).await?))
    };
    let ((good, seq), (bad, of_bad)) = (upload(1).await?, upload(2).await?);
    ensure!(setup.bob.address(&setup.room, seq, &good).await?.expect(409).reason() == "held");
    let listed = admin.get("/v1/files/held").await?.expect(200).json();
    ensure!(admin.get(url_of(&listed["files"][0])).await?.expect(200).bytes == png(1_000, 1), "{listed}");
    let _released = admin.post(&format!("/v1/files/{good}/release")).await?.expect(200);
    let _rejected = admin.post(&format!("/v1/files/{bad}/reject")).await?.expect(200);
    ensure!(setup.bob.download(&setup.room, seq, &good).await?.expect(200).bytes == png(1_000, 1));
    ensure!(setup.bob.address(&setup.room, of_bad, &bad).await?.expect(404).reason() == "rejected");
    ensure!(!setup.server.path_of(&bad).exists() && setup.server.path_of(&good).exists());
    // A URL that was given out before leads nowhere after the rejection.
    let address = setup.bob.address(&setup.room, seq, &good).await?.expect(200).json();
    let _rejected = admin.post(&format!("/v1/files/{good}/reject")).await?.expect(200);
    ensure!(setup.bob.get(url_of(&address)).await?.status == 404);
    Ok(())
}
