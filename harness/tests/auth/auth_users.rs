//! Required users: with `--users required` a token does not create its user. Uses a whole stack.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, Stack, Token, TokenBy};

const WAIT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

async fn start_stack_with_required_users() -> Result<Stack> {
    let stack = Stack::builder().persistence_env("TIDINGS_USERS", "required").start().await?;
    stack.database().query("INSERT INTO users (id, name) VALUES ('alice', 'Alice'), ('bob', NULL)").await?;
    Ok(stack)
}

#[tokio::test]
async fn unknown_user_token_is_refused_and_creates_no_user() -> Result<()> {
    let stack = start_stack_with_required_users().await?;
    let (ws, token) = (stack.gateway(0).ws(), Token::of("eve").name("Eve").sign(stack.jwt_secret()));
    for by in [TokenBy::Header, TokenBy::Query] {
        match Client::connect_by(by, &ws, &token).await {
            Err(ref error @ ClientError::Refused { status: 401, .. }) => {
                ensure!(
                    (error.code(), error.reason()) == ("unauthorized", "unknown_user"),
                    "{by:?}: {error}"
                );
            }
            other => bail!("{by:?}: {:?}", other.err()),
        }
    }
    let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    client.send_json(&json!({"type": "auth", "token": token, "ref": "r"})).await?;
    match client.next_event(WAIT_TIMEOUT).await? {
        ServerFrame::Error(error) => {
            ensure!(
                error.code == "unauthorized" && error.reason.as_deref() == Some("unknown_user"),
                "{error:?}"
            );
        }
        other => bail!("{other:?}"),
    }
    ensure!(client.until_closed().await?.code == Some(4401));
    let http = stack.http("alice").with_token(&token);
    let answer = http.my_rooms("").await?.expect(401);
    ensure!(answer.code() == "unauthorized" && answer.body["reason"] == "unknown_user", "{}", answer.body);
    ensure!(stack.database().value("SELECT count(*) FROM users").await? == "2");

    // Once the user exists, the same token is accepted.
    stack.database().query("INSERT INTO users (id) VALUES ('eve')").await?;
    Client::connect(&ws, &token).await?.ping().await?;
    ensure!(stack.database().value("SELECT name FROM users WHERE id = 'eve'").await? == "Eve");
    Ok(())
}

#[tokio::test]
async fn new_user_id_with_bidi_controls_is_refused() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let (alice, spoof) = (stack.http("alice"), "bob\u{202e}ecila");
    let room = alice.new_room(&[]).await?;
    alice.put_member(&room, spoof, "member").await?.expect(404);
    alice.create_room("direct", &[spoof]).await?.expect(404);
    let refused = stack.http(spoof).my_rooms("").await?.expect(401);
    ensure!(refused.body["reason"] == "unknown_user", "{}", refused.body);
    ensure!(stack.connect(spoof).await.is_err(), "the gateway accepted a new user");
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    ensure!(root.put_user(spoof, json!({"name": "x"})).await?.expect(400).body["field"] == "user");
    // A user of an earlier version keeps the id.
    stack.database().query(&format!("INSERT INTO users (id) VALUES ('{spoof}')")).await?;
    alice.put_member(&room, spoof, "member").await?.expect(200);
    stack.connect(spoof).await?.ping().await?;
    root.put_user(spoof, json!({"name": "x"})).await?.expect(200);
    // Nor may the name of a file hold such a character.
    let file = json!({"name": "a\u{202e}gnp.exe", "url": "https://x/a", "media_type": "a/b", "size": 1});
    let body = json!({"client_id": "c", "attachments": [file]});
    let refused = alice.post(&format!("/rooms/{room}/messages"), body).await?.expect(400);
    ensure!(refused.body["field"] == "attachments", "{}", refused.body);
    Ok(())
}

#[tokio::test]
async fn known_user_connects_with_name_from_token() -> Result<()> {
    let stack = start_stack_with_required_users().await?;
    let alice = stack.connect("alice").await?;
    ensure!(alice.connected().name.as_deref() == Some("Alice"));
    let renamed = Token::of("bob").name("Bob").sign(stack.jwt_secret());
    let bob = Client::connect(&stack.gateway(0).ws(), &renamed).await?;
    ensure!(bob.connected().name.as_deref() == Some("Bob"));
    Ok(())
}

#[tokio::test]
async fn room_with_unknown_member_is_not_created() -> Result<()> {
    let stack = start_stack_with_required_users().await?;
    let http = stack.http("alice");
    let answer = http.create_room("private", &["bob", "eve"]).await?.expect(404);
    ensure!(answer.code() == "not_found" && answer.body["field"] == "members", "{}", answer.body);
    ensure!(stack.database().value("SELECT count(*) FROM rooms").await? == "0");
    ensure!(stack.database().value("SELECT count(*) FROM users").await? == "2");
    http.create_room("private", &["bob"]).await?.expect(201);
    Ok(())
}
