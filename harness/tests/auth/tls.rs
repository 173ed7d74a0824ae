//! Redis and PostgreSQL as production should run them: verified TLS, one Redis user for each service with only the
//! commands, keys and channels that it needs, and a PostgreSQL role that may change only rows. A real conversation
//! works with these rights; wrong certificates, passwords and roles are refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::secured::{GATEWAY_USER, HOST, PERSISTENCE_USER, SecuredServers};
use anyhow::{Result, ensure};
use redis::cmd;
use serde_json::json;
use tidings_harness::play::run::{PlayOptions, Progress, Speed, play};
use tidings_harness::play::transcript;
use tidings_harness::{Client, Node, Nodes, Service, Token, http::Http, node, token};
use tidings_shared::log::address::{self, SentinelAccess};

const OWNER_ROLE: &str = "tidings_owner";
const SERVICE_ROLE: &str = "tidings_service";
/// The scripted conversation ends after this time without progress. A missing right stops its progress.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings by which a program connects to Redis as its user, and persistence also to PostgreSQL.
fn connection_settings(secured: &SecuredServers, user: &str) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([
        ("REDIS_URL", secured.redis_url(user, HOST)),
        ("TIDINGS_REDIS_PASSWORD", secured.redis_password().to_owned()),
        ("TIDINGS_REDIS_CA_FILE", secured.authority.display().to_string()),
    ]);
    if user == PERSISTENCE_USER {
        settings.insert("DATABASE_URL", secured.database_url(SERVICE_ROLE, HOST));
    }
    settings
}

/// Starts two gateways and two persistence nodes. Each service connects as its own Redis user, persistence also as its
/// PostgreSQL role. A user may send `rate` messages per second, after the first 1,000.
pub async fn start_nodes(secured: &SecuredServers, rate: u32) -> Result<(Vec<Node>, Vec<Node>, Nodes)> {
    let jwt_secret = token::secret();
    let both = [
        ("TIDINGS_JWT_SECRET".to_owned(), jwt_secret.clone()),
        ("TIDINGS_INTERNAL_SECRET".to_owned(), token::secret()),
        ("TIDINGS_MESSAGES_PER_SECOND".to_owned(), rate.to_string()),
        ("TIDINGS_MESSAGES_BURST".to_owned(), "1000".to_owned()),
    ];
    let settings_of = |user: &str| -> Vec<(String, String)> {
        let settings =
            connection_settings(secured, user).into_iter().map(|(name, value)| (name.to_owned(), value));
        both.iter().cloned().chain(settings).collect()
    };
    let (settings, mut persistence) = (settings_of(PERSISTENCE_USER), Vec::new());
    for name in ["persistence-0", "persistence-1"] {
        persistence.push(Node::start(Service::Persistence, secured.folder(), name, &settings).await?);
    }
    let urls: Vec<String> = persistence.iter().map(Node::internal).collect();
    let (mut settings, mut gateways) = (settings_of(GATEWAY_USER), Vec::new());
    settings.push(("TIDINGS_PERSISTENCE_URLS".to_owned(), urls.join(",")));
    settings.push(("TIDINGS_WORKERS".to_owned(), "2".to_owned()));
    for name in ["gateway-0", "gateway-1"] {
        gateways.push(Node::start(Service::Gateway, secured.folder(), name, &settings).await?);
    }
    let nodes = Nodes {
        gateways: gateways.iter().map(Node::ws).collect(),
        socket_io: None,
        persistence: persistence.iter().map(Node::url).collect(),
        jwt_secret,
        http: tidings_harness::http::client(),
    };
    Ok((gateways, persistence, nodes))
}

fn run_job(secured: &SecuredServers, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(node::program("tidings-persistence")?);
    let output =
        command.env_clear().envs(connection_settings(secured, PERSISTENCE_USER)).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Changes and reads a room, its members, marks and presence over HTTP, and at last erases the user.
pub async fn run_http_requests(http: &Http, room: &str) -> Result<()> {
    for (method, path, body) in [
        ("PATCH", format!("/rooms/{room}"), Some(json!({"name": "Tea"}))),
        ("PUT", format!("/rooms/{room}/members/carol"), Some(json!({"role": "member"}))),
        ("DELETE", format!("/rooms/{room}/members/carol"), None),
        ("POST", format!("/rooms/{room}/read"), Some(json!({"seq": 1}))),
        ("POST", format!("/rooms/{room}/delivered"), Some(json!({"seq": 1}))),
        ("POST", "/presence".to_owned(), Some(json!({"status": "away"}))),
        ("GET", "/presence?users=bob".to_owned(), None),
        ("GET", "/me/rooms".to_owned(), None),
        ("GET", "/me/export".to_owned(), None),
        ("DELETE", "/me".to_owned(), None),
    ] {
        let answer = http.request(method.parse()?, &path, body).await?;
        ensure!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.body);
    }
    Ok(())
}

/// Runs each command of gateways once, by WebSocket and by poll. No answer may be `unavailable` or `internal`.
pub async fn run_gateway_commands(client: &Client, polls: &Http, room: &str) -> Result<()> {
    client.join_mine().await?;
    client.edit(room, 1, "goodbye").await?;
    let read = json!({"type": "message:read", "room": room, "seq": 1});
    let typing = json!({"type": "typing:start", "room": room});
    for frame in [
        read.clone(),
        json!({"type": "message:delivered", "room": room, "seq": 1}),
        json!({"type": "reaction:add", "room": room, "seq": 1, "emoji": "☕"}),
        typing,
        json!({"type": "signal", "room": room, "data": 1}),
        json!({"type": "presence:set", "status": "away"}),
        json!({"type": "presence:get", "users": ["bob", "alice"]}),
        json!({"type": "room:leave", "room": room}),
        json!({"type": "ping"}),
    ] {
        if let Err(error) = client.ask(frame.clone()).await {
            ensure!(!["unavailable", "internal"].contains(&error.code()), "{frame}: {error}");
        }
    }
    let commands =
        json!([read, {"type": "message:send", "room": room, "client_id": "polled", "content": "hi"}]);
    let body = json!({"cursors": {room: {"epoch": "1", "seq": 0}}, "commands": commands, "timeout_ms": 0});
    let answer = polls.post("/poll", body).await?.expect(200).body.to_string();
    ensure!(!answer.contains("unavailable") && answer.contains("polled"), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversation_completes_with_least_privilege_users() -> Result<()> {
    let secured = SecuredServers::start().await?;
    let (gateways, persistence, nodes) = start_nodes(&secured, 1000).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2004-11-15.jsonl");
    let (report, verdict) = play(
        transcript::read(&[file])?,
        PlayOptions { standstill: PROGRESS_TIMEOUT, ..PlayOptions::new(Speed::Max, 3) },
        nodes.clone(),
        &Progress::default(),
    )
    .await?;
    println!("{}", serde_json::to_string(&report)?);
    let refused: redis::Value = secured.command_as_admin(cmd("ACL").arg("LOG")).await?;
    ensure!(verdict.is_clean() && report.messages > 50, "{verdict:?} {refused:?} {}", gateways[0].log()?);

    // The scripted conversation does not use these functions: changes of messages and rooms, marks, presence, typing,
    // erasure, a job.
    let http = |user: &str| Http::new(&persistence[0].url(), &Token::of(user).sign(&nodes.jwt_secret));
    let alice = http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let client = Client::connect(&gateways[0].ws(), &Token::of("bob").sign(&nodes.jwt_secret)).await?;
    let printed = run_job(&secured, &["retain", "--older-than", "1d", "--archive"])?;
    let sent = client.send(&room, "hello").await?;
    ensure!(alice.get(&format!("/rooms/{room}/search?q=hello")).await?.status < 500);
    run_http_requests(&alice, &room).await?;
    println!("{sent:?}\n{printed}");
    run_gateway_commands(
        &client,
        &Http::new(&gateways[1].url(), &Token::of("bob").sign(&nodes.jwt_secret)),
        &room,
    )
    .await?;
    for node in gateways.iter().chain(&persistence) {
        let log = node.log()?;
        for refusal in ["NOPERM", "permission denied", "must be owner"] {
            ensure!(!log.contains(refusal), "{:?}: {}", node.service(), log);
        }
    }
    let refused: redis::Value = secured.command_as_admin(cmd("ACL").arg("LOG")).await?;
    ensure!(refused == redis::Value::Array(Vec::new()), "{refused:?}");
    let used: String = secured.command_as_admin(cmd("INFO").arg("commandstats")).await?;
    let used = used.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
    println!("used: {}", used.collect::<Vec<_>>().join(" "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_certificate_password_or_role_is_refused() -> Result<()> {
    let secured = SecuredServers::start().await?;
    // With correct settings a job reaches both servers.
    let list = ["dead-letter", "list"];
    run_job(&secured, &list)?;
    let open = |url: &str, authority: Option<&Path>| {
        let pem = authority.map(std::fs::read).transpose()?;
        let password = Some(secured.redis_password());
        let client = address::client_with(url, password, pem.as_deref(), SentinelAccess::default());
        client.map_err(|unfit| anyhow::anyhow!("{unfit:?}"))
    };
    let plain = format!("redis://{GATEWAY_USER}@{HOST}:{}", secured.redis_port());
    let (authority, other_authority) =
        (Some(secured.authority.as_path()), Some(secured.other_authority.as_path()));
    for (url, authority, why) in [
        (secured.redis_url(GATEWAY_USER, HOST), authority, None),
        (secured.redis_url(GATEWAY_USER, HOST), other_authority, Some("certificate")),
        (secured.redis_url(GATEWAY_USER, HOST), None, Some("certificate")),
        (secured.redis_url(GATEWAY_USER, "127.0.0.1"), authority, Some("certificate")),
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
    let name = |url: &str, from: &str, to: &str| url.replace(from, to);
    let (right, ca) = (secured.database_url(SERVICE_ROLE, HOST), secured.authority.display().to_string());
    for (url, why) in [
        (right.clone(), None),
        (secured.database_url(SERVICE_ROLE, "127.0.0.1"), Some("")),
        (name(&right, &ca, &secured.other_authority.display().to_string()), Some("")),
        (name(&right, "verify-full", "disable"), Some("")),
        (name(&right, "correct", "wrong"), Some("")),
    ] {
        let mut command = Command::new(node::program("tidings-persistence")?);
        command
            .env_clear()
            .envs(connection_settings(&secured, PERSISTENCE_USER))
            .env("DATABASE_URL", &url)
            .args(list);
        let output = command.output()?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() == why.is_none(), "{url}: {printed}");
        ensure!(!printed.contains("correct") && !printed.contains("horse"), "{printed}");
    }
    // The service role may change rows, but not tables.
    let refused = |role: &str, sql: &str| {
        let statements = format!("SET ROLE {role}; {sql}");
        let database = &secured.database;
        async move { database.query(&statements).await.err().map(|error| error.to_string()) }
    };
    for sql in
        ["CREATE TABLE t (x int)", "TRUNCATE messages", "DROP TABLE messages", "ALTER TABLE users ADD x int"]
    {
        let error = refused(SERVICE_ROLE, sql).await.unwrap_or_default();
        ensure!(error.contains("permission denied") || error.contains("must be owner"), "{sql}: {error}");
    }
    ensure!(refused(SERVICE_ROLE, "SELECT count(*) FROM messages").await.is_none());
    ensure!(refused(OWNER_ROLE, "CREATE TABLE t (x int); DROP TABLE t").await.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_role_reads_migrations_table_but_cannot_write_it() -> Result<()> {
    let secured = SecuredServers::start().await?;
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/roles.sql");
    let roles = std::fs::read_to_string(roles)?;
    let name = secured.database.value("SELECT current_database()").await?;
    let owners = secured.database_url(OWNER_ROLE, HOST);
    let migrate = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(node::program("tidings-migrations")?);
        let output = command.env_clear().env("DATABASE_URL", &owners).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    // Round 0: after the first migration. 1: after `fresh`. 2: after an `up` without pending migrations. 3: after the
    // roles were created again.
    for round in 0..4 {
        match round {
            1 => migrate(&["fresh", "--drop-everything", &name])?,
            2 => {
                secured.database.query("GRANT ALL ON seaql_migrations TO tidings_service, PUBLIC").await?;
                migrate(&["up"])?;
            }
            3 => drop(secured.database.query(&roles).await?),
            _ => {}
        }
        for (sql, may) in [
            ("SELECT count(*) FROM seaql_migrations", true),
            ("INSERT INTO users (id) VALUES ('ann'); DELETE FROM users WHERE id = 'ann'", true),
            ("INSERT INTO seaql_migrations VALUES ('x', 1)", false),
            ("UPDATE seaql_migrations SET version = 'x'", false),
            ("DELETE FROM seaql_migrations", false),
            ("TRUNCATE seaql_migrations", false),
        ] {
            let outcome = secured.database.query(&format!("SET ROLE {SERVICE_ROLE}; {sql}")).await;
            let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(
                error.contains("permission denied") != may && (error.is_empty() == may),
                "{round} {sql}: {error}"
            );
        }
        ensure!(run_job(&secured, &["dead-letter", "list"]).is_ok());
    }
    Ok(())
}

/// Whether Redis refused a command to a user. Redis words the error differently inside a script.
async fn is_refused(secured: &SecuredServers, user: &str, command: &redis::Cmd) -> Result<bool> {
    let outcome = secured.command_as_user::<redis::Value>(user, command).await;
    let error = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
    let refused = ["no permissions", "can't run this command"].iter().any(|word| error.contains(word));
    ensure!(refused || error.is_empty(), "{user} {command:?}: {error}");
    Ok(refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_user_is_refused_commands_outside_its_service() -> Result<()> {
    let secured = SecuredServers::start().await?;
    let of = |words: &str| {
        let mut words = words.split(' ');
        let mut command = cmd(words.next().unwrap_or_default());
        command.arg(words.collect::<Vec<_>>());
        command
    };
    let mut set = cmd("EVAL");
    set.arg("return redis.call('SET', KEYS[1], 1)").arg(1).arg("{07}:exceptions");
    let mut flush = cmd("EVAL");
    flush.arg("return redis.call('FLUSHALL')").arg(0);
    for (command, gateway, persistence) in [
        // Neither user may use these commands, keys and channels, because no service needs them.
        (of("FLUSHALL"), false, false),
        (of("CONFIG GET *"), false, false),
        (of("KEYS *"), false, false),
        (of("SET other 1"), false, false),
        (of("PUBLISH other 1"), false, false),
        (of("SUBSCRIBE other"), false, false),
        (flush, false, false),
        // Only persistence may write these, and gateways may read some: exceptions, leases, accounts, ingest streams,
        // last-seen times.
        (of("HMGET {07}:exceptions room"), true, true),
        (of("DEL {07}:exceptions"), false, true),
        (set, false, true),
        (of("GET account:{ann}"), true, true),
        (of("DEL account:{ann}"), false, true),
        (of("PUBLISH leases 1"), false, true),
        (of("XREVRANGE {07}:ingest + -"), false, true),
        (of("HRANDFIELD {u07}:presence:gone 1"), false, true),
        (of("SET presence:writer 1"), false, true),
        // Only gateways may use these: presence of connections, and members of rooms.
        (of("SADD {u07}:presence:life:x ann"), true, false),
        (of("DEL {u07}:presence:life:x"), true, false),
        (of("ZRANGEBYSCORE {u07}:presence:lives 0 1"), true, false),
        (of("SET presence:sweeper 1"), true, false),
        (of("SET {07}:gateway:1 x"), true, false),
        (of("GET {07}:members:tea"), true, false),
        // Both users.
        (of("XLEN {07}:ingest"), true, true),
        (of("PUBLISH {07}:room:tea 1"), true, true),
        (of("PUBLISH user:ann 1"), true, true),
    ] {
        for (user, may) in [(GATEWAY_USER, gateway), (PERSISTENCE_USER, persistence)] {
            let refused = is_refused(&secured, user, &command).await?;
            ensure!(refused != may, "{user} {command:?}: {}", if refused { "refused" } else { "allowed" });
        }
    }
    Ok(())
}
