//! The service follows its OpenAPI document: schemathesis sends requests that the document allows and requests that it
//! forbids, and every answer must be documented. Needs a whole stack, and a program that `./dev test` installs.

mod stage;
mod strict;
mod tool;

use anyhow::{Result, ensure};
use serde_json::Value;
use stage::{create_rooms, start_stack};
use strict::{operations, to_strict};
use tidings_harness::Stack;
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
    let report = ToolRun { document: &document, url: &url, token: &token(&stack), arguments: &arguments }
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
    assert_eq!(refused, ["DELETE /v1/users/{user}", "PUT /v1/users/{user}"]);
    Ok(())
}

#[tokio::test]
async fn admin_requests_are_answered_as_documented() -> Result<()> {
    let mut refused = never_accepted_operations(|stack| stack.admin_token("root")).await?;
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
    let report =
        ToolRun { document: &document, url: &url, token: &token, arguments: &arguments }.run().await?;
    ensure!(
        report.tested_operations() == 1 && report.has_accepted("DELETE /v1/me"),
        "the user was not erased"
    );
    stack.http("alice").my_rooms("").await?.expect(403);
    Ok(())
}
