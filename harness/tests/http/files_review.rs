//! Files that wait for an admin.

use anyhow::{Result, ensure};
use tidings_harness::files::FilesNode;

use crate::files_uploads::{id_of, png, send_file, start_stack};

// Covers: GET /files/held, POST /files/{file}/release, POST /files/{file}/reject.
#[tokio::test]
async fn held_file_is_downloaded_only_after_its_release() -> Result<()> {
    let stack = start_stack().await?;
    let node = FilesNode::start(&stack, "files", &[("TIDINGS_FILES_HOLD", "true")]).await?;
    let (alice, bob) = (node.user(&stack.token("alice")), node.user(&stack.token("bob")));
    let admin = node.user(&stack.admin_token("scanner"));
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let bytes = [png(1_000, 1), png(1_000, 2)];
    let (good, bad) = (
        alice.upload(&room, "good.png", "image/png", &bytes[0]).await?,
        alice.upload(&room, "bad.png", "image/png", &bytes[1]).await?,
    );
    ensure!(good["state"] == "held" && good["attachment"]["file"] == good["id"], "{good}");
    let http = stack.http("alice");
    let (of_good, of_bad) = (send_file(&http, &room, &good).await?, send_file(&http, &room, &bad).await?);
    for user in [&alice, &bob, &admin] {
        ensure!(user.address(&room, of_good, &id_of(&good)).await?.expect(409).reason() == "held");
    }
    for path in ["/v1/files/held".to_owned(), format!("/v1/files/{}", id_of(&good))] {
        let _refused = bob.get(&path).await?.expect(403);
    }
    let listed = admin.get("/v1/files/held").await?.expect(200).json();
    let ids: Vec<_> = listed["files"].as_array().into_iter().flatten().map(id_of).collect();
    ensure!(ids == [id_of(&good), id_of(&bad)] && listed["files"][0]["uploader"] == "alice", "{listed}");
    for (listed, content) in listed["files"].as_array().into_iter().flatten().zip(&bytes) {
        let url = listed["url"].as_str().unwrap_or_default();
        ensure!(node.user("").get(url).await?.expect(200).bytes == *content);
        // The address of an admin is no address of a reader.
        let _refused = node.user("").get(&url.replace("&review=1", "")).await?.expect(403);
    }

    let decide = |file: &serde_json::Value, what: &str| format!("/v1/files/{}/{what}", id_of(file));
    let _refused = alice.post(&decide(&good, "release")).await?.expect(403);
    for _ in 0..2 {
        let released = admin.post(&decide(&good, "release")).await?.expect(200).json();
        ensure!(released["state"] == "ready", "{released}");
        let rejected = admin.post(&decide(&bad, "reject")).await?.expect(200).json();
        ensure!(rejected["state"] == "rejected" && rejected["attachment"].is_null(), "{rejected}");
    }
    ensure!(admin.post(&decide(&bad, "release")).await?.expect(409).reason() == "rejected");
    let _unknown = admin.post("/v1/files/0190f2a4-8d3e-7000-8000-0a1b2c3d4e5f/release").await?.expect(404);
    ensure!(bob.download(&room, of_good, &id_of(&good)).await?.expect(200).bytes == bytes[0]);
    ensure!(bob.address(&room, of_bad, &id_of(&bad)).await?.expect(404).reason() == "rejected");
    ensure!(!node.path_of(&id_of(&bad)).exists() && node.path_of(&id_of(&good)).exists());
    // An admin may reject a file later too.
    let address = bob.address(&room, of_good, &id_of(&good)).await?.expect(200).json();
    let _rejected = admin.post(&decide(&good, "reject")).await?.expect(200);
    ensure!(bob.get(address["url"].as_str().unwrap_or_default()).await?.status == 404);
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    let audit = root.get("/admin/audit?actor=scanner").await?.expect(200).body;
    let last = &audit["entries"][0];
    let is_right =
        last["action"] == "file.reject" && last["target"] == "alice" && last["room"] == room.as_str();
    ensure!(is_right && last["detail"] == id_of(&good), "{audit}");
    Ok(())
}
