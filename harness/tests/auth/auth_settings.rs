//! Token settings: invalid ones fail the startup with a message, valid ones work on real nodes, and no secret is ever
//! printed. Uses the services' programs and a whole stack.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Http, Service, Stack, Token, TokenBy};

const SECRET: &str = "hunter2hunter2hunter2hunter2";

/// Starts a program that must fail at once; returns its output.
fn failed_startup_output(service: Service, flags: &[&str]) -> Result<String> {
    let mut command = Command::new(tidings_harness::node::program(service.program())?);
    command.env_clear().args(["--redis-url=redis://:hunter2@127.0.0.1:1", "--listen=127.0.0.1:0"]);
    command.arg(format!("--internal-secret={SECRET}")).arg("--admin-listen=127.0.0.1:0");
    match service {
        Service::Gateway => command.arg("--persistence-url=http://127.0.0.1:1"),
        Service::Persistence => command
            .args(["--database-url=postgres://u:hunter2@127.0.0.1:1/x", "--internal-listen=127.0.0.1:0"]),
    };
    let output = command.args(flags).output()?;
    let output_text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(!output.status.success(), "{flags:?}: {output_text}");
    ensure!(!output_text.contains("hunter2"), "{flags:?} prints a secret: {output_text}");
    Ok(output_text)
}

#[test]
fn invalid_setting_fails_startup_and_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (no_pem, no_keys) = (file("no.pem", "hunter2")?, file("no.json", r#"{"keys":[]}"#)?);
    let secret = format!("--jwt-secret={SECRET}");
    for service in [Service::Gateway, Service::Persistence] {
        for (flags, name) in [
            (vec![], "--jwt-secret"),
            (vec!["--jwt-secret=hunter2".to_owned()], "--jwt-secret"),
            (vec!["--jwt-secret=-----BEGIN PUBLIC KEY-----hunter2".to_owned()], "is PEM"),
            (vec![format!("--jwt-public-key={no_pem}")], "--jwt-public-key"),
            (vec!["--jwt-public-key=/no/such/file".to_owned()], "--jwt-public-key"),
            (vec![format!("--jwks-file={no_keys}")], "--jwks-file"),
            (vec!["--jwks-url=https://issuer.example/keys".to_owned()], "--jwt-issuer"),
            (
                vec!["--jwks-url=http://issuer.example/keys".to_owned(), "--jwt-audience=a".to_owned()],
                "--jwks-url",
            ),
            (
                vec![
                    "--jwks-url=https://me:hunter2@issuer.example/".to_owned(),
                    "--jwt-audience=a".to_owned(),
                ],
                "--jwks-url",
            ),
            (vec![secret.clone(), "--jwt-algorithms=none".to_owned()], "--jwt-algorithms"),
            (vec![secret.clone(), "--jwt-leeway-s=601".to_owned()], "--jwt-leeway-s"),
            (vec![secret.clone(), "--jwt-max-life-s=0".to_owned()], "--jwt-max-life-s"),
            (vec![secret.clone(), "--jwt-user-claim=".to_owned()], "--jwt-user-claim"),
            (vec![secret.clone(), "--allowed-origins=chat.example".to_owned()], "--allowed-origins"),
        ] {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let output_text = failed_startup_output(service, &flags)?;
            ensure!(output_text.contains(name), "{flags:?} does not name {name}: {output_text}");
        }
    }
    let output_text = failed_startup_output(Service::Persistence, &[&secret, "--users=everybody"])?;
    ensure!(output_text.contains("--users"), "{output_text}");
    Ok(())
}

#[tokio::test]
async fn claims_are_read_from_configured_paths() -> Result<()> {
    let stack = Stack::builder()
        .env("TIDINGS_JWT_USER_CLAIM", "user.id")
        .env("TIDINGS_JWT_NAME_CLAIM", "nickname")
        .env("TIDINGS_JWT_PICTURE_CLAIM", "https://example.com/avatar")
        .env("TIDINGS_JWT_SCOPE_CLAIM", "permissions")
        .env("TIDINGS_JWT_ALGORITHMS", "HS512")
        .env("TIDINGS_JWT_ISSUER", "us, them")
        .env("TIDINGS_JWT_LEEWAY_S", 600)
        .env("TIDINGS_JWT_MAX_LIFE_S", 3600)
        .start()
        .await?;
    let token = Token::of("somebody else")
        .claim("user", json!({"id": 42}))
        .claim("nickname", json!("Al"))
        .claim("https://example.com/avatar", json!("https://x.example/al"))
        .claim("permissions", json!(["tidings.admin"]))
        .claim("iss", json!("them"))
        .ttl_s(-60)
        .algorithm(jsonwebtoken::Algorithm::HS512);
    let token = |change: fn(Token) -> Token| change(token.clone()).sign(stack.jwt_secret());
    let client = Client::connect(&stack.gateway(0).ws(), &token(|it| it)).await?;
    ensure!((client.connected().user.as_str(), client.connected().name.as_deref()) == ("42", Some("Al")));
    let http = Http::new(&stack.persistence(0).url(), &token(|it| it));
    // Choosing a room's id needs the admin scope.
    let room = json!({"kind": "private", "id": "chosen", "members": []});
    http.post("/rooms", room).await?.expect(201);
    let members = http.members("chosen", "").await?.expect(200).body;
    ensure!(members["members"][0]["picture"] == "https://x.example/al", "{members}");
    for (other, reason) in [
        (token(|it| it.algorithm(jsonwebtoken::Algorithm::HS256)), "algorithm"),
        (token(|it| it.claim("iss", json!("others"))), "claims"),
        (token(|it| it.without("user")), "claims"),
        (token(|it| it.ttl_s(-700)), "expired"),
        (token(|it| it.ttl_s(3700)), "claims"),
    ] {
        ensure!(http.with_token(&other).my_rooms("").await?.expect(401).body["reason"] == reason, "{reason}");
    }
    // The leeway also extends the life of the connection.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    client.ping().await?;
    Ok(())
}

#[tokio::test]
async fn tokens_and_secrets_are_never_logged() -> Result<()> {
    let stack = Stack::builder().env("TIDINGS_LOG", "trace").start().await?;
    let (ws, good) = (stack.gateway(0).ws(), stack.token("alice"));
    let bad = Token::of("alice").sign("another secret than the right one");
    for token in [&good, &bad] {
        for by in [TokenBy::Header, TokenBy::Query, TokenBy::FirstFrame] {
            let _ = Client::connect_by(by, &ws, token).await;
        }
        let http = Http::new(&stack.persistence(0).url(), token);
        http.get(&format!("/me/rooms?token={token}")).await?;
        http.get(&format!("/nothing?token={token}")).await?;
    }
    let room = stack.http("alice").new_room(&["bob"]).await?;
    stack.connect("alice").await?.send(&room, "hello").await?;
    let nodes = stack.gateways().iter().chain(stack.persistence_nodes());
    for node in nodes {
        let log = node.log()?;
        ensure!(log.len() > 1000, "too little was logged");
        for (name, secret) in [
            ("a good token", good.as_str()),
            ("a bad token", bad.as_str()),
            ("the secret", stack.jwt_secret()),
            ("the internal secret", stack.internal_secret()),
        ] {
            // Searches only for the end of the secret, because a part of it in the log is already a leak.
            let part = &secret[secret.len() - 20..];
            ensure!(!log.contains(part), "{name} is in the log of the {:?}", node.service());
        }
    }
    Ok(())
}
