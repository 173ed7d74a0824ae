//! Users who must be known: with `--users required` a token alone makes nobody. Touches a whole stack.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, Stack, Token, TokenBy};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

async fn stack() -> Result<Stack> {
    let stack = Stack::builder().persistence_env("TIDINGS_USERS", "required").start().await?;
    stack.database().query("INSERT INTO users (id, name) VALUES ('alice', 'Alice'), ('bob', NULL)").await?;
    Ok(stack)
}

#[tokio::test]
async fn a_token_of_an_unknown_user_is_refused_on_every_way_in_and_creates_nobody() -> Result<()> {
    let stack = stack().await?;
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
    match client.next_event(PATIENCE).await? {
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

    // As soon as somebody has created them they come in.
    stack.database().query("INSERT INTO users (id) VALUES ('eve')").await?;
    Client::connect(&ws, &token).await?.ping().await?;
    ensure!(stack.database().value("SELECT name FROM users WHERE id = 'eve'").await? == "Eve");
    Ok(())
}

#[tokio::test]
async fn known_users_come_in_with_what_their_token_tells_anew() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.connect("alice").await?;
    ensure!(alice.connected().name.as_deref() == Some("Alice"));
    let renamed = Token::of("bob").name("Bob").sign(stack.jwt_secret());
    let bob = Client::connect(&stack.gateway(0).ws(), &renamed).await?;
    ensure!(bob.connected().name.as_deref() == Some("Bob"));
    Ok(())
}

#[tokio::test]
async fn a_room_with_an_unknown_member_is_not_created() -> Result<()> {
    let stack = stack().await?;
    let http = stack.http("alice");
    let answer = http.create_room("private", &["bob", "eve"]).await?.expect(404);
    ensure!(answer.code() == "not_found" && answer.body["field"] == "members", "{}", answer.body);
    ensure!(stack.database().value("SELECT count(*) FROM rooms").await? == "0");
    ensure!(stack.database().value("SELECT count(*) FROM users").await? == "2");
    http.create_room("private", &["bob"]).await?.expect(201);
    Ok(())
}
