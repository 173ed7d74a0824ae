//! Redis and PostgreSQL as production should have them: TLS verified, a user limited to the commands, keys and channels
//! that are used, a role that may touch rows only. A real conversation is played through such a system; whoever is not
//! who they should be is refused.

#[path = "support/secured.rs"]
mod secured;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use redis::cmd;
use secured::{HOST, Secured};
use tidings_harness::play::run::{Direction, Progress, Speed, play};
use tidings_harness::play::transcript;
use tidings_harness::{Node, Nodes, Service, Token, http::Http, node, token};

const OWNER: &str = "tidings_owner";
const SERVICE: &str = "tidings_service";
/// Where one of the rights is missing, nothing comes through for ever.
const STANDSTILL: Duration = Duration::from_secs(30);

/// What a program is told, so that it reaches both servers.
fn reaching(secured: &Secured) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("REDIS_URL", secured.redis_url(HOST)),
        ("TIDINGS_REDIS_PASSWORD", secured.redis_password().to_owned()),
        ("TIDINGS_REDIS_CA_FILE", secured.authority.display().to_string()),
        ("DATABASE_URL", secured.database_url(SERVICE, HOST)),
    ])
}

/// Two gateways and two persistence nodes.
async fn nodes(secured: &Secured) -> Result<(Vec<Node>, Vec<Node>, Nodes)> {
    let jwt_secret = token::secret();
    let mut settings: Vec<(String, String)> =
        reaching(secured).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    settings.push(("TIDINGS_JWT_SECRET".to_owned(), jwt_secret.clone()));
    settings.push(("TIDINGS_INTERNAL_SECRET".to_owned(), token::secret()));
    for limit in ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST"] {
        settings.push((limit.to_owned(), "1000".to_owned()));
    }
    let mut persistence = Vec::new();
    for name in ["persistence-0", "persistence-1"] {
        persistence.push(Node::start(Service::Persistence, secured.folder(), name, &settings).await?);
    }
    let urls: Vec<String> = persistence.iter().map(Node::internal).collect();
    settings.push(("TIDINGS_PERSISTENCE_URLS".to_owned(), urls.join(",")));
    settings.push(("TIDINGS_WORKERS".to_owned(), "2".to_owned()));
    let mut gateways = Vec::new();
    for name in ["gateway-0", "gateway-1"] {
        gateways.push(Node::start(Service::Gateway, secured.folder(), name, &settings).await?);
    }
    let nodes = Nodes {
        gateways: gateways.iter().map(Node::ws).collect(),
        persistence: persistence.iter().map(Node::url).collect(),
        jwt_secret,
        http: tidings_harness::http::client(),
    };
    Ok((gateways, persistence, nodes))
}

/// Runs one of the jobs; what it printed.
fn job(secured: &Secured, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(node::program("tidings-persistence")?);
    let output = command.env_clear().envs(reaching(secured)).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_through_a_system_in_which_each_may_only_what_they_need() -> Result<()> {
    let secured = Secured::start().await?;
    let (gateways, persistence, nodes) = nodes(&secured).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2004-11-15.jsonl");
    let (report, verdict) = play(
        transcript::read(&[file])?,
        Direction { standstill: STANDSTILL, ..Direction::new(Speed::Max, 3) },
        nodes.clone(),
        &Progress::default(),
    )
    .await?;
    println!("{}", serde_json::to_string(&report)?);
    let refused: redis::Value = secured.as_admin(cmd("ACL").arg("LOG")).await?;
    ensure!(verdict.is_clean() && report.messages > 50, "{verdict:?} {refused:?} {}", gateways[0].log()?);

    // What a conversation has not: changes of messages and rooms, marks, presence, typing, an erasure, a job.
    let http = |user: &str| Http::new(&persistence[0].url(), &Token::of(user).sign(&nodes.jwt_secret));
    let alice = http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let client =
        tidings_harness::Client::connect(&gateways[0].ws(), &Token::of("bob").sign(&nodes.jwt_secret))
            .await?;
    let told = job(&secured, &["retain", "--older-than", "1d", "--archive"])?;
    let sent = client.send(&room, "hello").await?;
    ensure!(alice.get(&format!("/rooms/{room}/search?q=hello")).await?.status < 500);
    for (method, path, body) in [
        ("PATCH", format!("/rooms/{room}"), Some(serde_json::json!({"name": "Tea"}))),
        ("PUT", format!("/rooms/{room}/members/carol"), Some(serde_json::json!({"role": "member"}))),
        ("DELETE", format!("/rooms/{room}/members/carol"), None),
        ("POST", format!("/rooms/{room}/read"), Some(serde_json::json!({"seq": 1}))),
        ("POST", format!("/rooms/{room}/delivered"), Some(serde_json::json!({"seq": 1}))),
        ("POST", "/presence".to_owned(), Some(serde_json::json!({"status": "away"}))),
        ("GET", "/presence?users=bob".to_owned(), None),
        ("GET", "/me/rooms".to_owned(), None),
        ("GET", "/me/export".to_owned(), None),
        ("DELETE", "/me".to_owned(), None),
    ] {
        let answer = alice.request(method.parse()?, &path, body).await?;
        ensure!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.body);
    }
    println!("{sent:?}\n{told}");
    for node in gateways.iter().chain(&persistence) {
        let log = node.log()?;
        for told in ["NOPERM", "permission denied", "must be owner"] {
            ensure!(!log.contains(told), "{:?}: {}", node.service(), log);
        }
    }
    let refused: redis::Value = secured.as_admin(cmd("ACL").arg("LOG")).await?;
    ensure!(refused == redis::Value::Array(Vec::new()), "{refused:?}");
    let used: String = secured.as_admin(cmd("INFO").arg("commandstats")).await?;
    let used = used.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
    println!("used: {}", used.collect::<Vec<_>>().join(" "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_who_they_should_be_is_refused() -> Result<()> {
    let secured = Secured::start().await?;
    // It does, with all as it should be: a job reaches both.
    let list = ["dead-letter", "list"];
    job(&secured, &list)?;
    let open = |url: &str, authority: Option<&Path>| {
        let pem = authority.map(std::fs::read).transpose()?;
        let client =
            tidings_shared::log::address::client_of(url, Some(secured.redis_password()), pem.as_deref());
        client.map_err(|unfit| anyhow::anyhow!("{unfit:?}"))
    };
    let plain = format!("redis://tidings@{HOST}:{}", secured.redis_port());
    let (authority, stranger) = (Some(secured.authority.as_path()), Some(secured.stranger.as_path()));
    for (url, authority, why) in [
        (secured.redis_url(HOST), authority, None),
        (secured.redis_url(HOST), stranger, Some("certificate")),
        (secured.redis_url(HOST), None, Some("certificate")),
        (secured.redis_url("127.0.0.1"), authority, Some("certificate")),
        (plain, None, Some("")),
    ] {
        let client = open(&url, authority)?;
        let connected = client.get_multiplexed_async_connection().await.map(drop);
        match (connected, why) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => ensure!(error.to_string().contains(why), "{url}: {error}"),
            (connected, why) => anyhow::bail!("{url}: {connected:?}, {why:?}"),
        }
    }
    // Commands, keys and channels that are not theirs.
    for command in [
        cmd("FLUSHALL"),
        cmd("CONFIG").arg("GET").arg("*").to_owned(),
        cmd("KEYS").arg("*").to_owned(),
        cmd("SET").arg("other").arg(1).to_owned(),
        cmd("PUBLISH").arg("other").arg(1).to_owned(),
        cmd("EVAL").arg("return redis.call('FLUSHALL')").arg(0).to_owned(),
    ] {
        let refused = secured.as_service::<redis::Value>(&command).await.err();
        let refused = refused.map(|error| format!("{error:#}")).unwrap_or_default();
        // Of a script it is told in other words.
        let told = ["no permissions", "can't run this command"].iter().any(|told| refused.contains(told));
        ensure!(told, "{command:?}: {refused}");
    }

    let name = |url: &str, from: &str, to: &str| url.replace(from, to);
    let (right, ca) = (secured.database_url(SERVICE, HOST), secured.authority.display().to_string());
    for (url, why) in [
        (right.clone(), None),
        (secured.database_url(SERVICE, "127.0.0.1"), Some("")),
        (name(&right, &ca, &secured.stranger.display().to_string()), Some("")),
        (name(&right, "verify-full", "disable"), Some("")),
        (name(&right, "correct", "wrong"), Some("")),
    ] {
        let mut command = Command::new(node::program("tidings-persistence")?);
        command.env_clear().envs(reaching(&secured)).env("DATABASE_URL", &url).args(list);
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() == why.is_none(), "{url}: {told}");
        ensure!(!told.contains("correct") && !told.contains("horse"), "{told}");
    }
    // Rows are theirs, tables are not.
    let refused = |role: &str, sql: &str| {
        let url = format!("SET ROLE {role}; {sql}");
        let database = &secured.database;
        async move { database.query(&url).await.err().map(|error| error.to_string()) }
    };
    for sql in
        ["CREATE TABLE t (x int)", "TRUNCATE messages", "DROP TABLE messages", "ALTER TABLE users ADD x int"]
    {
        let told = refused(SERVICE, sql).await.unwrap_or_default();
        ensure!(told.contains("permission denied") || told.contains("must be owner"), "{sql}: {told}");
    }
    ensure!(refused(SERVICE, "SELECT count(*) FROM messages").await.is_none());
    ensure!(refused(OWNER, "CREATE TABLE t (x int); DROP TABLE t").await.is_none());
    Ok(())
}
