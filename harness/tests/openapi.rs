//! The service keeps to its OpenAPI document: schemathesis asks what it allows and what it forbids, and every answer must
//! be one that it tells. Touches a whole stack, and a program that `./dev test` installs.

#[path = "openapi/stage.rs"]
mod stage;
#[path = "openapi/strict.rs"]
mod strict;
#[path = "openapi/tool.rs"]
mod tool;

use anyhow::{Result, ensure};
use serde_json::Value;
use stage::{furnish, stack};
use strict::{operations, strict};
use tidings_harness::Stack;
use tool::{Report, Round};

const ERASURE: &str = "eraseMe";

async fn document(stack: &Stack) -> Result<Value> {
    let document = stack.http("nobody").with_token("").get("/openapi.json").await?.expect(200).body;
    ensure!(document["openapi"] == "3.1.0", "{document}");
    Ok(strict(document))
}

/// Everything but the end of who asks.
async fn ask_all(stack: &Stack, token: &str) -> Result<Report> {
    furnish(stack).await?;
    let document = document(stack).await?;
    let url = stack.persistence(0).url();
    let arguments = ["--exclude-operation-id", ERASURE];
    let report = Round { document: &document, url: &url, token, arguments: &arguments }.ask().await?;
    ensure!(report.tested() + 1 == operations(&document).count(), "asked of {} operations", report.tested());
    Ok(report)
}

#[tokio::test]
async fn what_a_user_asks_is_answered_as_the_document_says() -> Result<()> {
    let stack = stack().await?;
    let report = ask_all(&stack, &stack.token("alice")).await?;
    ensure!(report.never_accepted() == ["PUT /v1/users/{user}"], "{:?}", report.never_accepted());
    Ok(())
}

#[tokio::test]
async fn what_a_back_end_asks_is_answered_as_the_document_says() -> Result<()> {
    let stack = stack().await?;
    let report = ask_all(&stack, &stack.admin_token("root")).await?;
    // Only a member has a mark.
    let marks = ["POST /v1/rooms/{room}/delivered", "POST /v1/rooms/{room}/read"];
    ensure!(report.never_accepted() == marks, "{:?}", report.never_accepted());
    Ok(())
}

#[tokio::test]
async fn an_erasure_is_answered_as_the_document_says() -> Result<()> {
    let stack = stack().await?;
    furnish(&stack).await?;
    let (document, url, token) = (document(&stack).await?, stack.persistence(0).url(), stack.token("alice"));
    let arguments = ["--include-operation-id", ERASURE];
    let report = Round { document: &document, url: &url, token: &token, arguments: &arguments }.ask().await?;
    ensure!(report.tested() == 1 && report.never_accepted().is_empty(), "{:?}", report.never_accepted());
    stack.http("alice").my_rooms("").await?.expect(403);
    Ok(())
}
