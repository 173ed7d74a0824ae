//! Mallory, a user whom tests erase: her token, her name and all her data. Each of her texts contains the same mark.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::{Client, Http, Stack, Token, clock, http::encode, node};

/// Every text and name of mallory contains this mark, and nothing else does.
pub const MARK: &str = "xq7mark";

pub async fn start_stack() -> Result<Stack> {
    let builder = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await
}

pub fn token(stack: &Stack) -> String {
    let token = Token::of("mallory").name(&format!("Mallory {MARK}"));
    token.claim("picture", json!(format!("https://example.org/{MARK}.png"))).sign(stack.jwt_secret())
}

pub fn mallory(stack: &Stack) -> Http {
    Http::new(&stack.persistence(0).url(), &token(stack))
}

pub async fn erase(user: &Http) -> Result<u16> {
    Ok(user.request(Method::DELETE, "/me", None).await?.status)
}

/// Creates data of mallory in every place: rooms she is in, rooms she left, private messages, edits, reactions, the
/// archive, dead letters, names. Returns the rooms.
pub async fn create_data(stack: &Stack) -> Result<Vec<String>> {
    let (alice, http) = (stack.http("alice"), mallory(stack));
    let socket = Client::connect(&stack.gateway(0).ws(), &token(stack)).await?;
    let text = |words: &str| format!("{words} {MARK} \"quoted\"\n\u{1f642} Ж");
    let stays = alice.new_room(&["mallory", "bob"]).await?;
    let left = alice.new_room(&["mallory"]).await?;
    let own = http.new_room(&["bob"]).await?;
    let direct = http.create_room("direct", &["bob"]).await?.expect(201).body["room"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let old = alice.new_room(&["mallory"]).await?;
    let rooms = vec![stays.clone(), left.clone(), own.clone(), direct.clone(), old.clone()];

    alice.send(&stays, "a1", "of alice").await?.expect(201);
    for room in &rooms {
        socket.send(room, &text("sent")).await?;
        let body = json!({"client_id": clock::client_id(), "content": text("private"), "visible_to": {"roles": ["owner"]},
            "metadata": {(MARK): [MARK]}, "attachments": [{"name": MARK, "url": format!("https://example.org/{MARK}"),
            "media_type": "a/b", "size": 1}]});
        http.post(&format!("/rooms/{room}/messages"), body).await?.expect(201);
    }
    // Edits and reactions by mallory and by others, some of them removed again, in a room in which mallory stays.
    socket.edit(&stays, 2, &text("edited")).await?;
    socket.edit(&stays, 2, &text("edited again")).await?;
    alice
        .request(
            Method::PATCH,
            &format!("/rooms/{stays}/messages/3"),
            Some(json!({"content": text("edited by alice")})),
        )
        .await?
        .expect(200);
    socket.react(&stays, 1, MARK).await?;
    for (method, seq) in [(Method::PUT, 2), (Method::DELETE, 2), (Method::PUT, 3)] {
        let path = format!("/rooms/{stays}/messages/{seq}/reactions/{}", encode(&format!("{MARK}!")));
        http.request(method, &path, None).await?.expect(200);
    }
    alice.request(Method::PUT, &format!("/rooms/{stays}/messages/2/reactions/x"), None).await?.expect(200);
    // As an admin, mallory edits a message of alice.
    alice.put_member(&stays, "mallory", "admin").await?.expect(200);
    http.request(
        Method::PATCH,
        &format!("/rooms/{stays}/messages/1"),
        Some(json!({"content": text("over alice"), "metadata": {(MARK): 1}})),
    )
    .await?
    .expect(200);
    http.remove_member(&left, "mallory").await?.expect(200);
    // This edit is the last record of its partition.
    let corrected = json!({"content": text("corrected by alice")});
    alice.request(Method::PATCH, &format!("/rooms/{left}/messages/1"), Some(corrected)).await?.expect(200);
    // One of mallory's messages is in the archive.
    stack
        .database()
        .query(&format!("UPDATE messages SET at = at - interval '9 days' WHERE room_id = '{old}'"))
        .await?;
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.args(["retain", "--older-than", "1d", "--archive", "--database-url", stack.database().url()]);
    ensure!(job.args(["--redis-url", &stack.shards().services_url()]).output().await?.status.success());
    // In each of three rooms, one of mallory's messages becomes a dead letter: a room with other data of mallory, a
    // room without, and a room that she has left.
    let (refused, gone) = (alice.new_room(&["mallory"]).await?, alice.new_room(&["mallory"]).await?);
    stack.database().query("ALTER TABLE messages ADD CHECK (content NOT LIKE '%poison%')").await?;
    for room in [&stays, &refused, &gone] {
        http.send(room, "poison", &text("poison")).await?.expect(400);
    }
    http.remove_member(&gone, "mallory").await?.expect(200);
    stack.database().until("SELECT count(*) FROM events WHERE void_told = false", "0").await?;
    socket.close().await?;
    Ok([rooms, vec![refused, gone]].concat())
}
