//! Files in a bucket of Azure or Google Cloud. All bytes pass through `tidings-files`, at URLs that it signs.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use reqwest::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::files::{Cloud, CloudServer, FileUser, FilesNode, bytes_of};
use tidings_harness::{Http, Stack};

use crate::files_previews::{POSITION, contains, photo, preview_address, url_of};
use crate::files_s3::{THREE_PARTS, parts_of};
use crate::files_uploads::{id_of, png, send_file, start_stack};

/// A system whose files are in a bucket of a cloud, and the room of Alice and Bob.
pub struct CloudSetup {
    pub stack: Stack,
    pub server: CloudServer,
    pub node: FilesNode,
    pub alice: FileUser,
    pub bob: FileUser,
    pub http: Http,
    pub room: String,
}

impl CloudSetup {
    pub async fn start(cloud: Cloud, settings: &[(&str, &str)]) -> Result<CloudSetup> {
        let stack = start_stack().await?;
        let server = CloudServer::start(&stack, cloud).await?;
        let node = FilesNode::start_with_cloud(&stack, "files", &server, settings).await?;
        let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
        let http = stack.http("alice");
        let room = http.new_room(&["bob"]).await?;
        Ok(CloudSetup { stack, server, node, alice, bob, http, room })
    }

    /// The path of a file of Alice.
    pub fn path(&self, file: &str) -> String {
        format!("/v1/rooms/{}/files/{file}", self.room)
    }

    /// Begins the upload of Alice.
    pub async fn create(&self, content: &[u8]) -> Result<Value> {
        Ok(self.alice.create(&self.room, "a.png", "image/png", content).await?.expect(201).json())
    }
}

/// The name of the object of a file, below the prefix of the bucket.
pub fn object_of(file: &str) -> String {
    let digits = &file[file.len() - 4..];
    format!("{}/{}/{file}", &digits[..2], &digits[2..])
}

fn part_url(part: &Value) -> Result<&str> {
    part["url"].as_str().context("no URL")
}

// Covers: PUT /files/{file}/parts/{number}, POST /rooms/{room}/files, POST /rooms/{room}/files/{file}/complete.
#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn upload_in_parts_resumes_and_its_urls_are_good_for_one_part(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let content = png(THREE_PARTS, 1);
    let created = setup.create(&content).await?;
    let (id, parts) = (id_of(&created), parts_of(&created)?);
    ensure!(parts.len() == 3 && created["upload"]["kind"] == "parts", "{created}");
    let last = &parts[2];
    let nobody = setup.node.user("");
    for (wrong, status) in [(&content[..10], 400), (&content[..(4 << 20) + 8], 413), (&[][..], 400)] {
        let refused = nobody.put_part(last, wrong.to_vec()).await?;
        ensure!(refused.status == status, "{status}: {refused:?}");
    }
    let url = part_url(last)?;
    ensure!(url.starts_with(&format!("/v1/files/{id}/parts/3?expires=")), "{url}");
    let other = id_of(&setup.create(&content).await?);
    for forged in [
        url.replace("/parts/3", "/parts/2"),
        url.replace("/parts/3", "/parts/9"),
        url.replace(&id, &other),
        url.replace("expires=", "expires=9"),
        url.split("&signature").next().unwrap_or_default().to_owned(),
        url.replace("/parts/3", ""),
    ] {
        let method = if forged.contains("/parts/") { Method::PUT } else { Method::GET };
        let refused = nobody.send(nobody.request(method, &forged).body("x")).await?;
        ensure!(refused.status == 403, "{forged}: {refused:?}");
    }
    let _stored = nobody.put_part(last, bytes_of(last, &content)?).await?.expect(200);
    setup.node.kill();
    setup.node.start_again().await?;
    let seen = setup.alice.get(&setup.path(&id)).await?.expect(200).json();
    let missing: Vec<u64> = parts_of(&seen)?.iter().filter_map(|part| part["number"].as_u64()).collect();
    ensure!(missing == [1, 2] && seen["upload"]["received_bytes"] == last["size"], "{seen}");
    let complete = format!("{}/complete", setup.path(&id));
    ensure!(setup.alice.post(&complete).await?.expect(409).reason() == "incomplete");
    ensure!(setup.alice.send_parts(&setup.room, &id, &content).await? == 2);
    // A part may be sent again. It is not stored again, because Azure would keep both.
    let _stored = nobody.put_part(last, png((4 << 20) + 7, 2)).await?.expect(200);
    ensure!(setup.server.objects(&id).await?.is_empty(), "the object exists before the completion");
    let _unknown = setup.bob.post(&complete).await?.expect(404);
    let file = setup.alice.post(&complete).await?.expect(200).json();
    ensure!(file["state"] == "ready" && file["upload"].is_null(), "{file}");
    ensure!(setup.alice.post(&complete).await?.expect(200).json() == file, "the second completion differs");
    let _ended = nobody.put_part(last, png((4 << 20) + 7, 2)).await?.expect(404);
    let rows = format!("SELECT count(*) FROM file_parts WHERE file_id = '{id}'");
    ensure!(setup.stack.database().value(&rows).await? == "0", "the rows of the parts stay");
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    ensure!(setup.bob.download(&setup.room, seq, &id).await?.expect(200).bytes == content);
    Ok(())
}

// Covers: GET /files/{file}, GET /rooms/{room}/messages/{seq}/files/{file}.
#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn download_passes_through_the_service_and_can_run_nothing(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let html = b"<html><script>alert(document.domain)</script></html>".to_vec();
    let file = setup.alice.upload(&setup.room, "a.png", "image/png", &html).await?;
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    let got = setup.bob.download(&setup.room, seq, &id_of(&file)).await?.expect(200);
    ensure!(got.bytes == html && got.header("content-disposition").starts_with("attachment; "));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "private, max-age=300, immutable"),
        ("accept-ranges", "bytes"),
    ] {
        ensure!(got.header(name) == value, "{name}: {:?}", got.headers);
    }
    let content = png(5_000, 1);
    let file = setup.alice.upload(&setup.room, "a.png", "image/png", &content).await?;
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    let address = setup.bob.address(&setup.room, seq, &id_of(&file)).await?.expect(200).json();
    let (url, nobody) = (url_of(&address), setup.node.user(""));
    let request = |method| nobody.request(method, url);
    let whole = nobody.get(url).await?.expect(200);
    ensure!(whole.bytes == content && whole.header("content-type") == "image/png", "{:?}", whole.headers);
    let etag = whole.header("etag").to_owned();
    let part = nobody.send(request(Method::GET).header(RANGE, "bytes=1000-1999")).await?.expect(206);
    ensure!(part.bytes == content[1_000..2_000] && part.header("content-range") == "bytes 1000-1999/5000");
    let end = request(Method::GET).header(RANGE, "bytes=-10").header(IF_RANGE, &etag);
    ensure!(nobody.send(end).await?.expect(206).bytes == content[4_990..]);
    let other = request(Method::GET).header(RANGE, "bytes=-10").header(IF_RANGE, "\"other\"");
    ensure!(nobody.send(other).await?.expect(200).bytes == content);
    let beyond = nobody.send(request(Method::GET).header(RANGE, "bytes=5000-")).await?.expect(416);
    ensure!(beyond.header("content-range") == "bytes */5000", "{:?}", beyond.headers);
    let known = nobody.send(request(Method::GET).header(IF_NONE_MATCH, &etag)).await?.expect(304);
    ensure!(known.bytes.is_empty() && known.header("etag") == etag);
    let head = nobody.send(request(Method::HEAD).header(RANGE, "bytes=0-9")).await?.expect(200);
    ensure!(head.bytes.is_empty() && head.header("content-length") == "5000", "{:?}", head.headers);
    ensure!(nobody.get(&url.replace("signature=", "signature=A")).await?.status == 403);
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn photo_loses_its_position_and_has_a_preview(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[]).await?;
    let content = photo()?;
    let file = setup.alice.upload(&setup.room, "photo.jpg", "image/jpeg", &content).await?;
    let id = id_of(&file);
    let left = [format!("{id}.clean"), format!("{id}.preview")];
    ensure!(setup.server.objects(&id).await? == left, "{:?}", setup.server.objects(&id).await?);
    let seq = send_file(&setup.http, &setup.room, &file).await?;
    let got = setup.bob.download(&setup.room, seq, &id).await?.expect(200);
    ensure!(file["attachment"]["size"] == got.bytes.len() && !contains(&got.bytes, POSITION));
    ensure!(got.header("content-type") == "image/jpeg", "{:?}", got.headers);
    let address = preview_address(&setup.bob, &setup.room, seq, &file).await?.expect(200).json();
    let preview = setup.node.user("").get(url_of(&address)).await?.expect(200);
    ensure!(preview.bytes.len() < got.bytes.len() && !contains(&preview.bytes, POSITION));
    ensure!(preview.header("content-type") == "image/jpeg", "{:?}", preview.headers);
    ensure!(preview.header("content-disposition").starts_with("inline; "), "{:?}", preview.headers);
    Ok(())
}

// Covers: GET /files/held, POST /files/{file}/release, POST /files/{file}/reject.
#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn held_content_is_fetched_by_admins_only(#[case] cloud: Cloud) -> Result<()> {
    let setup = CloudSetup::start(cloud, &[("TIDINGS_FILES_HOLD", "true")]).await?;
    let admin = setup.node.user(&setup.stack.admin_token("scanner"));
    let content = png(1_000, 1);
    let file = setup.alice.upload(&setup.room, "a.png", "image/png", &content).await?;
    let (id, seq) = (id_of(&file), send_file(&setup.http, &setup.room, &file).await?);
    ensure!(setup.bob.address(&setup.room, seq, &id).await?.expect(409).reason() == "held");
    let listed = admin.get("/v1/files/held").await?.expect(200).json();
    ensure!(admin.get(url_of(&listed["files"][0])).await?.expect(200).bytes == content, "{listed}");
    let _released = admin.post(&format!("/v1/files/{id}/release")).await?.expect(200);
    let address = setup.bob.address(&setup.room, seq, &id).await?.expect(200).json();
    ensure!(setup.bob.get(url_of(&address)).await?.expect(200).bytes == content);
    let _rejected = admin.post(&format!("/v1/files/{id}/reject")).await?.expect(200);
    ensure!(setup.bob.get(url_of(&address)).await?.status == 404);
    ensure!(setup.server.objects(&id).await?.is_empty());
    Ok(())
}

#[rstest]
#[case(Cloud::Azure)]
#[case(Cloud::Google)]
#[tokio::test]
async fn setting_above_proxied_limit_is_refused(#[case] cloud: Cloud) -> Result<()> {
    let stack = start_stack().await?;
    let server = CloudServer::start(&stack, cloud).await?;
    let too_large = [("TIDINGS_FILES_MAX_FILE_BYTES", "8388608001")];
    ensure!(FilesNode::start_with_cloud(&stack, "refused", &server, &too_large).await.is_err());
    let largest =
        [("TIDINGS_FILES_MAX_FILE_BYTES", "8388608000"), ("TIDINGS_FILES_MAX_USER_BYTES", "9000000000")];
    let node = FilesNode::start_with_cloud(&stack, "files", &server, &largest).await?;
    let alice = node.user(&stack.token("alice"));
    let room = stack.http("alice").new_room(&[]).await?;
    let form = json!({"name": "a", "media_type": "a/b", "size": 8_388_608_000_u64, "sha256": "0".repeat(64)});
    let created = alice.create_with(&room, &form).await?.expect(201).json();
    ensure!(parts_of(&created)?.iter().all(|part| part["size"] == 8 << 20), "{created}");
    Ok(())
}
