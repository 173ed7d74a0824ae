//! What all APIs have in common: files, push and webhooks treat unknown and blocked users as persistence does, and all
//! answers have the headers that protect browsers.

use anyhow::{Result, ensure};
use reqwest::{Method, header::HeaderValue};
use tidings_harness::files::FilesNode;
use tidings_harness::http::client;
use tidings_harness::push::{Browser, PushNode};
use tidings_harness::stack::set_feed;
use tidings_harness::webhooks::{Receiver, WebhooksNode};
use tidings_harness::{Http, Stack, Token};

/// A stack with all programs, each with the same value of `TIDINGS_USERS`.
struct Programs {
    stack: Stack,
    files: FilesNode,
    push: PushNode,
    webhooks: WebhooksNode,
}

impl Programs {
    async fn start(users: &str) -> Result<Programs> {
        let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_USERS", users).start().await?;
        set_feed(stack.database().url(), true).await?;
        let settings = [("TIDINGS_USERS", users)];
        let files = FilesNode::start(&stack, "files", &settings).await?;
        let push = PushNode::start(&stack, "push", &settings).await?;
        let webhooks = WebhooksNode::start(&stack, "webhooks", &settings).await?;
        Ok(Programs { stack, files, push, webhooks })
    }

    /// For each program an admin of its own, and a path that this admin may read.
    fn admins(&self) -> Vec<(&'static str, Http, &'static str)> {
        let token =
            |user: &str| Token::of(user).name("Robot").scope("tidings.admin").sign(self.stack.jwt_secret());
        vec![
            ("p", self.stack.http("p").with_token(&token("p")), "/me/rooms"),
            ("f", self.files.http(&token("f")), "/files/held"),
            ("n", self.push.http(&token("n")), "/me/devices"),
            ("w", self.webhooks.http().with_token(&token("w")), "/webhooks"),
        ]
    }
}

#[tokio::test]
async fn first_request_to_any_program_creates_its_user() -> Result<()> {
    let programs = Programs::start("create").await?;
    for (user, http, path) in programs.admins() {
        let answer = http.get(path).await?;
        ensure!(answer.status == 200, "{user}: {answer:?}");
        let named = format!("SELECT count(*) FROM users WHERE id = '{user}' AND name = 'Robot'");
        ensure!(
            programs.stack.database().value(&named).await? == "1",
            "{user} was not created from the claims"
        );
    }
    // An app registers its device before it does anything else.
    let service = Receiver::start().await?;
    programs.push.register(&programs.stack, "bob", &Browser::subscribe(&service, "bob")?).await?;
    Ok(())
}

#[tokio::test]
async fn every_json_answer_forbids_content_sniffing() -> Result<()> {
    let programs = Programs::start("create").await?;
    let (shared, token) = (Stack::shared().await?, programs.stack.token("alice"));
    let companion = |port: u16| format!("http://127.0.0.1:{port}");
    let mut checked = 0;
    for (origin, paths) in [
        (
            programs.stack.persistence(0).url(),
            ["/v1/me/rooms", "/v1/rooms/none", "/v1/openapi.json", "/none"],
        ),
        (
            companion(programs.files.public_port()),
            ["/v1/files/held", "/v1/files/none", "/v1/files/openapi.json", "/none"],
        ),
        (
            companion(programs.push.public_port()),
            ["/v1/me/devices", "/v1/push/key", "/v1/me/mutes/x", "/none"],
        ),
        (companion(programs.webhooks.public_port()), ["/v1/webhooks", "/v1/webhooks/x", "/v1/none", "/none"]),
        (shared.gateway(0).url(), ["/v1/poll", "/v1/ws", "/v1/none", "/none"]),
    ] {
        for path in paths {
            for method in [Method::GET, Method::POST] {
                let request = client().request(method.clone(), format!("{origin}{path}"));
                let answer = request.bearer_auth(&token).send().await?;
                let header = answer.headers().get("x-content-type-options").cloned();
                ensure!(header.is_some_and(|value| value == "nosniff"), "{method} {path}: {answer:?}");
                checked += usize::from(answer.headers().get("content-type").is_some_and(is_json));
            }
        }
    }
    ensure!(checked > 30, "only {checked} answers were JSON");
    Ok(())
}

fn is_json(content_type: &HeaderValue) -> bool {
    content_type.to_str().is_ok_and(|text| text.ends_with("json"))
}

#[tokio::test]
async fn unknown_and_blocked_users_are_refused_everywhere() -> Result<()> {
    let programs = Programs::start("required").await?;
    let database = programs.stack.database();
    for (user, http, path) in programs.admins() {
        let refused = http.get(path).await?;
        ensure!(refused.status == 401 && refused.body["reason"] == "unknown_user", "{user}: {refused:?}");
        let known = format!("SELECT count(*) FROM users WHERE id = '{user}'");
        ensure!(database.value(&known).await? == "0", "{user} was created");
        database.query(&format!("INSERT INTO users (id) VALUES ('{user}')")).await?;
        let answer = http.get(path).await?;
        ensure!(answer.status == 200, "{user}: {answer:?}");
        database.query(&format!("UPDATE users SET blocked = true WHERE id = '{user}'")).await?;
        let blocked = http.get(path).await?;
        ensure!(blocked.status == 403 && blocked.body["code"] == "forbidden", "{user}: {blocked:?}");
    }
    Ok(())
}
