//! The service follows its OpenAPI document: schemathesis sends requests that the document allows and requests that it
//! forbids, and every answer must be documented. Needs a whole stack, and a program that `./dev test` installs.

mod stage;
mod strict;
mod tool;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stage::{create_rooms, start_stack};
use strict::{operations, to_strict};
use tidings_harness::files::FilesNode;
use tidings_harness::push::{Browser, PushNode};
use tidings_harness::webhooks::WebhooksNode;
use tidings_harness::{Stack, Token, ports};
use tool::ToolRun;

const ERASURE_OPERATION: &str = "eraseMe";

async fn fetch_document(stack: &Stack) -> Result<Value> {
    let document = stack.http("nobody").with_token("").get("/openapi.json").await?.expect(200).body;
    ensure!(document["openapi"] == "3.1.0", "{document}");
    Ok(to_strict(document))
}

/// Calls all operations except the erasure of the caller; returns the operations that never succeeded.
async fn never_accepted_operations(token: impl Fn(&Stack) -> String) -> Result<Vec<String>> {
    let stack = start_stack().await?;
    create_rooms(&stack).await?;
    let (document, url) = (fetch_document(&stack).await?, stack.persistence(0).url());
    let arguments = ["--exclude-operation-id", ERASURE_OPERATION];
    let report =
        ToolRun { document: &document, url: &url, token: &token(&stack), arguments: &arguments, ids: &[] }
            .run()
            .await?;
    let asked: Vec<String> = operations(&document)
        .filter(|(_, operation)| operation["operationId"] != ERASURE_OPERATION)
        .map(|(name, _)| name)
        .collect();
    ensure!(
        report.tested_operations() == asked.len(),
        "{} operations were tested, not {}",
        report.tested_operations(),
        asked.len()
    );
    Ok(asked.into_iter().filter(|name| !report.has_accepted(name)).collect())
}

#[tokio::test]
async fn user_requests_are_answered_as_documented() -> Result<()> {
    let refused = never_accepted_operations(|stack| stack.token("alice")).await?;
    assert_eq!(
        refused,
        ["GET /v1/admin/audit", "GET /v1/feed", "DELETE /v1/users/{user}", "PUT /v1/users/{user}"]
    );
    Ok(())
}

#[tokio::test]
async fn admin_requests_are_answered_as_documented() -> Result<()> {
    let mut refused = never_accepted_operations(|stack| {
        Token::of("root").scope("tidings.admin tidings.feed").sign(stack.jwt_secret())
    })
    .await?;
    // Only members have marks, and this user may be a member of no room.
    refused.retain(|name| {
        !["POST /v1/rooms/{room}/delivered", "POST /v1/rooms/{room}/read"].contains(&name.as_str())
    });
    assert_eq!(refused, [] as [&str; 0]);
    Ok(())
}

#[tokio::test]
async fn erasure_is_answered_as_documented() -> Result<()> {
    let stack = start_stack().await?;
    create_rooms(&stack).await?;
    let (document, url, token) =
        (fetch_document(&stack).await?, stack.persistence(0).url(), stack.token("alice"));
    let arguments = ["--include-operation-id", ERASURE_OPERATION];
    let report = ToolRun { document: &document, url: &url, token: &token, arguments: &arguments, ids: &[] }
        .run()
        .await?;
    ensure!(
        report.tested_operations() == 1 && report.has_accepted("DELETE /v1/me"),
        "the user was not erased"
    );
    stack.http("alice").my_rooms("").await?.expect(403);
    Ok(())
}

#[tokio::test]
async fn webhook_requests_are_answered_as_documented() -> Result<()> {
    let stack = start_stack().await?;
    create_rooms(&stack).await?;
    // Only one attempt, so that there are dead letters.
    let settings = [("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.001"), ("TIDINGS_WEBHOOKS_MAX_DEAD", "1000000")];
    let node = WebhooksNode::start(&stack, "webhooks", &settings).await?;
    let (mut ids, closed) = (Vec::new(), ports::free()?);
    for number in 0..20 {
        let url = format!("http://127.0.0.1:{closed}/{number}");
        ids.push(node.register(&url, json!({"ordered": false})).await?["id"].as_str().unwrap().to_owned());
    }
    let document = node.http().with_token("").get("/webhooks/openapi.json").await?.expect(200).body;
    let (document, url) = (to_strict(document), format!("http://127.0.0.1:{}", node.public_port()));
    let token = stack.admin_token("root");
    let run = ToolRun { document: &document, url: &url, token: &token, arguments: &[], ids: &ids };
    let report = run.run().await?;
    let asked: Vec<String> = operations(&document).map(|(name, _)| name).collect();
    ensure!(report.tested_operations() == asked.len(), "not all of {asked:?} were tested");
    let refused: Vec<String> = asked.into_iter().filter(|name| !report.has_accepted(name)).collect();
    assert_eq!(refused, [] as [&str; 0]);
    Ok(())
}

#[tokio::test]
async fn file_requests_are_answered_as_documented() -> Result<()> {
    let stack = start_stack().await?;
    create_rooms(&stack).await?;
    let node = FilesNode::start(&stack, "files", &[("TIDINGS_FILES_HOLD", "true")]).await?;
    let alice = node.user(&stack.token("alice"));
    let mut ids = Vec::new();
    for number in 0..10_u8 {
        let file = alice.upload("kitchen", "a.txt", "text/plain", &[number]).await?;
        let open = alice.create("kitchen", "b.txt", "text/plain", &[number]).await?.expect(201).json();
        ids.extend([file, open].map(|file| file["id"].as_str().unwrap().to_owned()));
    }
    let document = alice.get("/v1/files/openapi.json").await?.expect(200).json();
    let (document, url) = (to_strict(document), format!("http://127.0.0.1:{}", node.public_port()));
    let token = stack.admin_token("root");
    // The tool has no form of partial uploads, and no signatures. Files have no messages here.
    let unasked = ["PATCH /v1/rooms/{room}/files/{file}/content"];
    let unmet = [
        "GET /v1/files/{file}",
        "PUT /v1/files/{file}/parts/{number}",
        "GET /v1/rooms/{room}/messages/{seq}/files/{file}",
    ];
    let arguments = ["--exclude-operation-id", "appendContent"];
    let run = ToolRun { document: &document, url: &url, token: &token, arguments: &arguments, ids: &ids };
    let report = run.run().await?;
    let asked = operations(&document).map(|(name, _)| name).filter(|name| !unasked.contains(&name.as_str()));
    let refused: Vec<String> = asked.filter(|name| !report.has_accepted(name)).collect();
    assert_eq!(refused, unmet);
    Ok(())
}

#[tokio::test]
async fn push_requests_are_answered_as_documented() -> Result<()> {
    let stack = start_stack().await?;
    create_rooms(&stack).await?;
    let node = PushNode::start(&stack, "push", &[("TIDINGS_PUSH_REQUESTS_PER_SECOND", "1000000")]).await?;
    let mut ids = Vec::new();
    for number in 0..15 {
        let browser = Browser::with_endpoint(&format!("http://127.0.0.1:9/{number}"), "x")?;
        ids.push(node.register(&stack, "alice", &browser).await?);
    }
    let document = node.http("").get("/push/openapi.json").await?.expect(200).body;
    let (document, url) = (to_strict(document), format!("http://127.0.0.1:{}", node.public_port()));
    let token = stack.token("alice");
    let run = ToolRun { document: &document, url: &url, token: &token, arguments: &[], ids: &ids };
    let report = run.run().await?;
    let asked: Vec<String> = operations(&document).map(|(name, _)| name).collect();
    ensure!(report.tested_operations() == asked.len(), "not all of {asked:?} were tested");
    let refused: Vec<String> = asked.into_iter().filter(|name| !report.has_accepted(name)).collect();
    assert_eq!(refused, [] as [&str; 0]);
    Ok(())
}
