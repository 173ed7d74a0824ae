//! Redis and PostgreSQL as production should have them: TLS verified, a user for each service limited to the commands,
//! keys and channels that it uses, a role that may touch rows only. A real conversation is played through such a system;
//! whoever is not who they should be is refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::secured::{GATEWAY, HOST, PERSISTENCE, Secured};
use anyhow::{Result, ensure};
use redis::cmd;
use serde_json::json;
use tidings_harness::play::run::{Direction, Progress, Speed, play};
use tidings_harness::play::transcript;
use tidings_harness::{Client, Node, Nodes, Service, Token, http::Http, node, token};

const OWNER: &str = "tidings_owner";
const SERVICE: &str = "tidings_service";
/// Where one of the rights is missing, nothing comes through for ever.
const STANDSTILL: Duration = Duration::from_secs(30);

/// What a program is told, so that it reaches Redis as its user, and persistence also PostgreSQL.
fn reaching(secured: &Secured, user: &str) -> BTreeMap<&'static str, String> {
    let mut reaching = BTreeMap::from([
        ("REDIS_URL", secured.redis_url(user, HOST)),
        ("TIDINGS_REDIS_PASSWORD", secured.redis_password().to_owned()),
        ("TIDINGS_REDIS_CA_FILE", secured.authority.display().to_string()),
    ]);
    if user == PERSISTENCE {
        reaching.insert("DATABASE_URL", secured.database_url(SERVICE, HOST));
    }
    reaching
}

/// Two gateways and two persistence nodes.
async fn nodes(secured: &Secured) -> Result<(Vec<Node>, Vec<Node>, Nodes)> {
    let jwt_secret = token::secret();
    let mut both = vec![
        ("TIDINGS_JWT_SECRET".to_owned(), jwt_secret.clone()),
        ("TIDINGS_INTERNAL_SECRET".to_owned(), token::secret()),
    ];
    for limit in ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST"] {
        both.push((limit.to_owned(), "1000".to_owned()));
    }
    let settings_of = |user: &str| -> Vec<(String, String)> {
        let reaching = reaching(secured, user).into_iter().map(|(name, value)| (name.to_owned(), value));
        both.iter().cloned().chain(reaching).collect()
    };
    let (settings, mut persistence) = (settings_of(PERSISTENCE), Vec::new());
    for name in ["persistence-0", "persistence-1"] {
        persistence.push(Node::start(Service::Persistence, secured.folder(), name, &settings).await?);
    }
    let urls: Vec<String> = persistence.iter().map(Node::internal).collect();
    let (mut settings, mut gateways) = (settings_of(GATEWAY), Vec::new());
    settings.push(("TIDINGS_PERSISTENCE_URLS".to_owned(), urls.join(",")));
    settings.push(("TIDINGS_WORKERS".to_owned(), "2".to_owned()));
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
    let output = command.env_clear().envs(reaching(secured, PERSISTENCE)).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Each command once that gateways carry out, by WebSocket and by poll; none may be out of reach.
async fn by_gateways(client: &Client, polls: &Http, room: &str) -> Result<()> {
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
    let client = Client::connect(&gateways[0].ws(), &Token::of("bob").sign(&nodes.jwt_secret)).await?;
    let told = job(&secured, &["retain", "--older-than", "1d", "--archive"])?;
    let sent = client.send(&room, "hello").await?;
    ensure!(alice.get(&format!("/rooms/{room}/search?q=hello")).await?.status < 500);
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
        let answer = alice.request(method.parse()?, &path, body).await?;
        ensure!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.body);
    }
    println!("{sent:?}\n{told}");
    by_gateways(&client, &Http::new(&gateways[1].url(), &Token::of("bob").sign(&nodes.jwt_secret)), &room)
        .await?;
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
    let plain = format!("redis://{GATEWAY}@{HOST}:{}", secured.redis_port());
    let (authority, stranger) = (Some(secured.authority.as_path()), Some(secured.stranger.as_path()));
    for (url, authority, why) in [
        (secured.redis_url(GATEWAY, HOST), authority, None),
        (secured.redis_url(GATEWAY, HOST), stranger, Some("certificate")),
        (secured.redis_url(GATEWAY, HOST), None, Some("certificate")),
        (secured.redis_url(GATEWAY, "127.0.0.1"), authority, Some("certificate")),
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
    let (right, ca) = (secured.database_url(SERVICE, HOST), secured.authority.display().to_string());
    for (url, why) in [
        (right.clone(), None),
        (secured.database_url(SERVICE, "127.0.0.1"), Some("")),
        (name(&right, &ca, &secured.stranger.display().to_string()), Some("")),
        (name(&right, "verify-full", "disable"), Some("")),
        (name(&right, "correct", "wrong"), Some("")),
    ] {
        let mut command = Command::new(node::program("tidings-persistence")?);
        command.env_clear().envs(reaching(&secured, PERSISTENCE)).env("DATABASE_URL", &url).args(list);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_role_reads_which_migrations_are_applied_and_never_writes_it() -> Result<()> {
    let secured = Secured::start().await?;
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/roles.sql");
    let roles = std::fs::read_to_string(roles)?;
    let name = secured.database.value("SELECT current_database()").await?;
    let owners = secured.database_url(OWNER, HOST);
    let migrate = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(node::program("tidings-migrations")?);
        let output = command.env_clear().env("DATABASE_URL", &owners).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    // After the first run, one of all tables anew, one that finds nothing to do, and the roles once more.
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
            let outcome = secured.database.query(&format!("SET ROLE {SERVICE}; {sql}")).await;
            let told = outcome.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(
                told.contains("permission denied") != may && (told.is_empty() == may),
                "{round} {sql}: {told}"
            );
        }
        ensure!(job(&secured, &["dead-letter", "list"]).is_ok());
    }
    Ok(())
}

/// Whether Redis refused a user a command. Of a script it is told in other words.
async fn is_refused(secured: &Secured, user: &str, command: &redis::Cmd) -> Result<bool> {
    let outcome = secured.as_user::<redis::Value>(user, command).await;
    let told = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
    let refused = ["no permissions", "can't run this command"].iter().any(|word| told.contains(word));
    ensure!(refused || told.is_empty(), "{user} {command:?}: {told}");
    Ok(refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_user_of_redis_is_refused_what_only_the_other_needs_and_what_neither_does() -> Result<()> {
    let secured = Secured::start().await?;
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
        // Neither: other commands, keys, channels.
        (of("FLUSHALL"), false, false),
        (of("CONFIG GET *"), false, false),
        (of("KEYS *"), false, false),
        (of("SET other 1"), false, false),
        (of("PUBLISH other 1"), false, false),
        (of("SUBSCRIBE other"), false, false),
        (flush, false, false),
        // What is stored and by whom partitions are taken, accounts, the streams that are written down.
        (of("HMGET {07}:exceptions room"), true, true),
        (of("DEL {07}:exceptions"), false, true),
        (set, false, true),
        (of("GET account:{ann}"), true, true),
        (of("DEL account:{ann}"), false, true),
        (of("PUBLISH leases 1"), false, true),
        (of("XREVRANGE {07}:ingest + -"), false, true),
        (of("HRANDFIELD {u07}:presence:gone 1"), false, true),
        (of("SET presence:writer 1"), false, true),
        // Who is connected, and members of rooms.
        (of("SADD {u07}:presence:life:x ann"), true, false),
        (of("DEL {u07}:presence:life:x"), true, false),
        (of("ZRANGEBYSCORE {u07}:presence:lives 0 1"), true, false),
        (of("SET presence:sweeper 1"), true, false),
        (of("GET {07}:members:tea"), true, false),
        // Both.
        (of("XLEN {07}:ingest"), true, true),
        (of("PUBLISH {07}:room:tea 1"), true, true),
        (of("PUBLISH user:ann 1"), true, true),
    ] {
        for (user, may) in [(GATEWAY, gateway), (PERSISTENCE, persistence)] {
            let refused = is_refused(&secured, user, &command).await?;
            ensure!(refused != may, "{user} {command:?}: {}", if refused { "refused" } else { "allowed" });
        }
    }
    Ok(())
}
