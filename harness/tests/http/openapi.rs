//! The service keeps to its OpenAPI document: schemathesis asks what it allows and what it forbids, and every answer must
//! be one that it tells. Touches a whole stack, and a program that `./dev test` installs.

mod stage;
mod strict;
mod tool;

use anyhow::{Result, ensure};
use serde_json::Value;
use stage::{furnish, stack};
use strict::{operations, strict};
use tidings_harness::Stack;
use tool::Round;

const ERASURE: &str = "eraseMe";

async fn document(stack: &Stack) -> Result<Value> {
    let document = stack.http("nobody").with_token("").get("/openapi.json").await?.expect(200).body;
    ensure!(document["openapi"] == "3.1.0", "{document}");
    Ok(strict(document))
}

/// Asks everything but for the end of who asks; which operations were never carried out.
async fn never_accepted(token: impl Fn(&Stack) -> String) -> Result<Vec<String>> {
    let stack = stack().await?;
    furnish(&stack).await?;
    let (document, url) = (document(&stack).await?, stack.persistence(0).url());
    let arguments = ["--exclude-operation-id", ERASURE];
    let report =
        Round { document: &document, url: &url, token: &token(&stack), arguments: &arguments }.ask().await?;
    let asked: Vec<String> = operations(&document)
        .filter(|(_, operation)| operation["operationId"] != ERASURE)
        .map(|(name, _)| name)
        .collect();
    ensure!(report.tested() == asked.len(), "asked of {} operations, not {}", report.tested(), asked.len());
    Ok(asked.into_iter().filter(|name| !report.accepted(name)).collect())
}

#[tokio::test]
async fn what_a_user_asks_is_answered_as_the_document_says() -> Result<()> {
    let refused = never_accepted(|stack| stack.token("alice")).await?;
    assert_eq!(refused, ["PUT /v1/users/{user}"]);
    Ok(())
}

#[tokio::test]
async fn what_a_back_end_asks_is_answered_as_the_document_says() -> Result<()> {
    let mut refused = never_accepted(|stack| stack.admin_token("root")).await?;
    // Only a member has marks, and this one may be in no room.
    refused.retain(|name| {
        !["POST /v1/rooms/{room}/delivered", "POST /v1/rooms/{room}/read"].contains(&name.as_str())
    });
    assert_eq!(refused, [] as [&str; 0]);
    Ok(())
}

#[tokio::test]
async fn an_erasure_is_answered_as_the_document_says() -> Result<()> {
    let stack = stack().await?;
    furnish(&stack).await?;
    let (document, url, token) = (document(&stack).await?, stack.persistence(0).url(), stack.token("alice"));
    let arguments = ["--include-operation-id", ERASURE];
    let report = Round { document: &document, url: &url, token: &token, arguments: &arguments }.ask().await?;
    ensure!(report.tested() == 1 && report.accepted("DELETE /v1/me"), "it was not erased");
    stack.http("alice").my_rooms("").await?.expect(403);
    Ok(())
}
