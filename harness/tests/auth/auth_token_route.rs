//! The token route of docs/TOKENS.md for Auth.js, run by Node: its tokens are accepted. Uses Node and a whole stack.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, Http, Stack};

/// Calls the route with this session; returns status and body.
fn call_token_route(session: &Value, secret: &str) -> Result<(u64, Value)> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/chat-token.mjs");
    let script = r#"
        const { chatTokenRoute } = await import("file://" + process.env.EXAMPLE);
        const session = JSON.parse(process.env.SESSION);
        const answer = await chatTokenRoute(async () => session, process.env.TIDINGS_JWT_SECRET)();
        console.log(JSON.stringify([answer.status, await answer.json(), answer.headers.get("cache-control")]));
    "#;
    let output = Command::new("node")
        .args(["--input-type=module", "--eval", script])
        .env("EXAMPLE", example.canonicalize()?)
        .env("SESSION", session.to_string())
        .env("TIDINGS_JWT_SECRET", secret)
        .output()
        .context("this test needs node, 20 or later")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let status = answer[0].as_u64().context("a status")?;
    ensure!(status != 200 || answer[2] == "no-store", "{answer}");
    Ok((status, answer[1].clone()))
}

#[tokio::test]
async fn auth_js_session_gets_valid_token_and_no_session_gets_none() -> Result<()> {
    let stack = Stack::start().await?;
    let session =
        json!({"user": {"id": "clx0alice", "name": "Älice \"A\" ☕", "image": "https://x.example/a.png"}});
    let (status, answer) = call_token_route(&session, stack.jwt_secret())?;
    ensure!(status == 200, "{answer}");
    let token = answer["token"].as_str().context("a token")?;
    let client = Client::connect(&stack.gateway(0).ws(), token).await?;
    ensure!(client.connected().user == "clx0alice");
    ensure!(client.connected().name.as_deref() == Some("Älice \"A\" ☕"), "{:?}", client.connected());
    Http::new(&stack.persistence(0).url(), token).my_rooms("").await?.expect(200);
    ensure!(
        stack.database().value("SELECT picture FROM users WHERE id = 'clx0alice'").await?
            == "https://x.example/a.png"
    );

    for no_user in [json!(null), json!({}), json!({"user": {"name": "Eve"}})] {
        let (status, answer) = call_token_route(&no_user, stack.jwt_secret())?;
        ensure!(status == 401 && answer.get("token").is_none(), "{no_user}: {answer}");
    }
    Ok(())
}
