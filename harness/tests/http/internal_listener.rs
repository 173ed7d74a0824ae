//! The internal listener for gateways: it answers only requests with the secret, and opens epochs only for the Redis
//! process that persistence uses. Long because it has a test for each request of gateways.

use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, hold_partition};
use anyhow::{Context, Result, ensure};
use secrecy::SecretString;
use serde_json::{Value, json};
use tidings_harness::{Stack, http, token::Token};
use tidings_shared::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    internal::{ConnectUserRequest, InternalClient, SECRET_HEADER},
    log::{
        Authority, AuthorityError, KnownClientId, OpenedEpoch, SeedOutcome,
        keys::{self, Partition},
    },
    membership::{self, Account},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub fn internal_client(stack: &Stack) -> Result<InternalClient> {
    let urls = [stack.persistence(0).internal()];
    Ok(InternalClient::new(&urls, SecretString::from(stack.internal_secret().to_owned()))?)
}

pub async fn post(stack: &Stack, path: &str, secret: Option<&str>, body: String) -> Result<(u16, Value)> {
    let request = http::client().post(format!("{}{path}", stack.persistence(0).internal())).body(body);
    let request = secret.into_iter().fold(request, |request, secret| request.header(SECRET_HEADER, secret));
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
}

#[tokio::test]
async fn request_without_internal_secret_is_unauthorized() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let ask = json!({"user": "alice"}).to_string();
    for path in ["epoch", "seed", "look-up", "target", "rooms", "roles", "accounts", "connect-user"] {
        let path = format!("/internal/v1/{path}");
        for wrong in [None, Some(""), Some("0123456789abcdef"), Some(&stack.internal_secret()[1..])] {
            let (status, problem) = post(&stack, &path, wrong, ask.clone()).await?;
            ensure!(
                (status, &problem["code"]) == (401, &json!("unauthorized")),
                "{path}: {status} {problem}"
            );
        }
    }
    let secret = Some(stack.internal_secret());
    ensure!(post(&stack, "/internal/v1/rooms", secret, ask).await?.0 == 200);
    ensure!(post(&stack, "/internal/v1/rooms", secret, "{}".into()).await?.0 == 400);
    ensure!(post(&stack, "/internal/v1/rooms", secret, " ".repeat(100 * 1024)).await?.0 == 413);
    ensure!(post(&stack, "/internal/v1/else", secret, "{}".into()).await?.0 == 404);
    Ok(())
}

#[tokio::test]
async fn broken_connection_is_retried_at_another_replica() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let behind = stack.persistence(0).ports().internal;
    let balancer = tokio::spawn(async move {
        // The first connection breaks, as if its replica were dead. The second one reaches a live replica.
        drop(listener.accept().await?);
        let (mut from, _) = listener.accept().await?;
        let mut to = TcpStream::connect(("127.0.0.1", behind)).await?;
        tokio::io::copy_bidirectional(&mut from, &mut to).await?;
        anyhow::Ok(())
    });
    let urls = [format!("http://{address}")];
    let client = InternalClient::new(&urls, SecretString::from(stack.internal_secret().to_owned()))?;
    let answer = client.rooms(&UserId::parse("alice")?, Epoch(1)).await?;
    ensure!(answer.rooms.is_empty());
    balancer.abort();
    Ok(())
}

#[tokio::test]
async fn epoch_is_opened_only_for_the_redis_process_in_use() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let client = internal_client(&stack)?;
    let all: Vec<Partition> = Partition::all().collect();
    let refused = client.open_epochs("0123456789012345678901234567890123456789", &all).await;
    ensure!(matches!(refused, Err(AuthorityError::OtherProcess)), "{refused:?}");
    let room = RoomLog::new(&stack, 100).await?;
    let session = room.log.session_of(&room.room).await?;
    let opened = client.open_epochs(session.run_id(), &all).await?;
    let is_expected =
        |opened: &OpenedEpoch| opened.epoch == session.epoch && opened.age < Duration::from_secs(60);
    ensure!(opened.len() == 64 && opened.iter().all(|(_, opened)| is_expected(opened)), "{opened:?}");
    for partitions in [json!([]), json!([64])] {
        let body = json!({"run_id": session.run_id(), "partitions": partitions}).to_string();
        let answer = post(&stack, "/internal/v1/epoch", Some(stack.internal_secret()), body).await?;
        ensure!(answer.0 == 400, "{answer:?}");
    }
    ensure!(stack.database().value("SELECT count(*) FROM epochs_opened").await? == "1");
    Ok(())
}

#[tokio::test]
async fn seed_requires_current_epoch_and_existing_room() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, room) = (internal_client(&stack)?, RoomLog::new(&stack, 100).await?);
    let epoch = room.log.session_of(&room.room).await?.epoch;
    let unknown = RoomId::parse("nowhere")?;
    let mut rooms = vec![unknown];
    for _ in 0..150 {
        rooms.push(RoomId::parse(&stack.http("alice").new_room(&[]).await?)?);
    }
    let outcomes = client.seed(epoch, &rooms).await?;
    ensure!(
        outcomes[0] == SeedOutcome::NoSuchRoom && outcomes[1..].iter().all(|o| *o == SeedOutcome::Seeded)
    );
    ensure!(client.seed(epoch, &rooms).await? == outcomes, "a second seed changes nothing");
    ensure!(stack.database().value("SELECT count(*) FROM room_epochs").await? == "150");
    for other in [Epoch(epoch.0 + 1), Epoch(0)] {
        ensure!(client.seed(other, &rooms[..2]).await == Err(AuthorityError::EpochEnded), "{other}");
    }
    let head = room.log.read(&rooms[1], None, Epoch(0), None, &[]).await?.head;
    ensure!((head.seq, head.kind.as_str(), head.members) == (Seq(0), "private", 1), "{head:?}");
    Ok(())
}

#[tokio::test]
async fn busy_partition_delays_seeds_of_its_own_rooms_only() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, busy) = (internal_client(&stack)?, RoomLog::new(&stack, 100).await?);
    let mut free = RoomLog::new(&stack, 100).await?;
    while free.partition() == busy.partition() {
        free = RoomLog::new(&stack, 100).await?;
    }
    let epoch = busy.log.session_of(&busy.room).await?.epoch;
    let rooms = [busy.room.clone(), free.room.clone()];
    let hold = hold_partition(&stack, busy.partition(), 4.0).await?;
    let begun = Instant::now();
    ensure!(client.seed(epoch, &rooms).await? == [SeedOutcome::Later, SeedOutcome::Seeded]);
    ensure!(begun.elapsed() < Duration::from_millis(3000), "{:?}", begun.elapsed());
    hold.await?;
    ensure!(client.seed(epoch, &rooms).await? == [SeedOutcome::Seeded; 2]);
    Ok(())
}

#[tokio::test]
async fn connecting_user_is_created_and_keeps_omitted_fields() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, user) = (internal_client(&stack)?, UserId::parse("zoë")?);
    let connect = async |name: Option<&str>, picture: Option<&str>| {
        let (name, picture) = (name.map(str::to_owned), picture.map(str::to_owned));
        let account = client.connect_user(&ConnectUserRequest { user: user.clone(), name, picture }).await?;
        account.context("created")
    };
    let account = |name: Option<&str>, picture: Option<&str>, blocked| Account {
        name: name.map(str::to_owned),
        picture: picture.map(str::to_owned),
        blocked,
    };
    ensure!(connect(None, None).await? == account(None, None, false));
    ensure!(connect(Some("Zoë"), None).await? == account(Some("Zoë"), None, false));
    ensure!(connect(None, Some("p")).await? == account(Some("Zoë"), Some("p"), false));
    let version = "SELECT xmin::text FROM users WHERE id = 'zoë'";
    let before = stack.database().value(version).await?;
    ensure!(connect(Some("Zoë"), Some("p")).await? == account(Some("Zoë"), Some("p"), false));
    ensure!(stack.database().value(version).await? == before, "the row was written without a change");
    stack.database().query("UPDATE users SET blocked = true WHERE id = 'zoë'").await?;
    ensure!(connect(Some("Z"), None).await? == account(Some("Z"), Some("p"), true));
    let room = RoomLog::new(&stack, 100).await?;
    let session = room.log.session_of_user(&user).await?;
    let cached = membership::cached_account(&mut session.connection(), &user, session.epoch).await?;
    ensure!(cached == Some(account(Some("Z"), Some("p"), true)), "{cached:?}");
    Ok(())
}

#[tokio::test]
async fn http_and_gateway_update_account_from_token_alike() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, user) = (internal_client(&stack)?, UserId::parse("zoë")?);
    let room = RoomLog::new(&stack, 100).await?;
    let cached = async || -> Result<_> {
        let session = room.log.session_of_user(&user).await?;
        let account = membership::cached_account(&mut session.connection(), &user, session.epoch).await?;
        Ok(account.map(|account| (account.name, account.picture)))
    };
    let ask = async |name: Option<&str>, picture: Option<&str>| -> Result<()> {
        let token = Token::of("zoë");
        let token = name.into_iter().fold(token, Token::name);
        let token = picture.into_iter().fold(token, |token, picture| token.claim("picture", json!(picture)));
        let token = token.sign(stack.jwt_secret());
        stack.http("zoë").with_token(&token).my_rooms("").await?.expect(200);
        Ok(())
    };
    let account = |name: &str, picture: &str| Some((Some(name.to_owned()), Some(picture.to_owned())));
    let (name, picture) = (Some("Zoë".to_owned()), Some("p".to_owned()));
    client.connect_user(&ConnectUserRequest { user: user.clone(), name, picture }).await?;
    ensure!(cached().await? == account("Zoë", "p"));
    ask(Some("Zoé"), None).await?;
    ensure!(cached().await? == account("Zoé", "p"), "the cache is outdated: {:?}", cached().await?);
    ask(None, Some("q")).await?;
    ensure!(cached().await? == account("Zoé", "q"));
    let row = "SELECT name, picture, xmin FROM users WHERE id = 'zoë'";
    let before = stack.database().query(row).await?;
    ensure!(before[0][..2] == ["Zoé", "q"], "{before:?}");
    for (name, picture) in [(None, None), (Some("Zoé"), None), (Some("Zoé"), Some("q"))] {
        ask(name, picture).await?;
    }
    ensure!(stack.database().query(row).await? == before, "the row was written without a change");
    Ok(())
}

#[tokio::test]
async fn idle_connection_stays_open_before_its_first_request() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let node = stack.persistence(0).ports();
    let mut waiting = Vec::new();
    for (port, path) in [(node.public, "/v1/openapi.json"), (node.internal, "/internal/v1/else")] {
        waiting.push((TcpStream::connect(("127.0.0.1", port)).await?, path));
    }
    // Longer than the default timeout of actix for the first request.
    tokio::time::sleep(Duration::from_secs(7)).await;
    for (mut stream, path) in waiting {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1);
        ensure!(matches!(status, Some("200" | "404")), "{path}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn rejected_client_id_lookup_uses_its_index() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, room) =
        (internal_client(&stack)?, RoomId::parse(&stack.http("alice").new_room(&[]).await?)?);
    stack
        .database()
        .query(&format!(
            "INSERT INTO events (room_id, seq, type, actor_id, client_id, at, body, void_reason, void_told) \
             SELECT '{room}', n, 'void', 'alice', 'c' || n, now(), '{{}}', \
               CASE WHEN n % 2 = 0 THEN 'rejected' ELSE 'duplicate' END, true FROM generate_series(1, 4000) n; \
             ANALYZE events"
        ))
        .await?;
    let look_up = async |client_id: &str| -> Result<_> {
        Ok(client.look_up(&room, &UserId::parse("alice")?, &ClientId::parse(client_id)?).await?)
    };
    ensure!(look_up("c3").await?.is_none());
    let scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'events_rejected'";
    let begun = Instant::now();
    // PostgreSQL updates its statistics with a delay.
    while stack.database().value(scans).await? == "0" {
        ensure!(look_up("c2000").await? == Some(KnownClientId::Rejected));
        ensure!(begun.elapsed() < Duration::from_secs(20), "the index is not used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn memberships_are_returned_and_cached_latest_rooms_first() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, bob) = (internal_client(&stack)?, UserId::parse("bob")?);
    let (quiet, busy) = (RoomLog::new(&stack, 100).await?, RoomLog::new(&stack, 100).await?);
    quiet.send("early").await?;
    busy.send("late").await?;
    let answer = client.rooms(&bob, Epoch(0)).await?;
    ensure!(answer.recent == [busy.room.clone(), quiet.room.clone()], "{answer:?}");
    ensure!(answer.rooms[&busy.room].role == "member" && answer.rooms[&busy.room].read_seq == Seq(0));
    let session = busy.log.session_of_user(&bob).await?;
    let rooms = [busy.room.clone(), quiet.room.clone()];
    let cached = membership::cached_in(&mut session.connection(), &bob, session.epoch, &rooms).await?;
    let expected = rooms.iter().map(|room| answer.rooms.get(room).cloned()).collect();
    ensure!(cached == Some(expected), "{cached:?}");
    ensure!(client.recent_rooms(&bob).await? == rooms);
    ensure!(client.rooms(&UserId::parse("nobody")?, Epoch(0)).await?.rooms.is_empty());
    Ok(())
}

#[tokio::test]
async fn roles_and_accounts_keep_request_order_and_create_nobody() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, room) =
        (internal_client(&stack)?, RoomId::parse(&stack.http("alice").new_room(&["zoë", "bob"]).await?)?);
    stack.database().query("UPDATE users SET name = 'Bob', blocked = true WHERE id = 'bob'").await?;
    let users = ["bob", "nobody", "alice", "zoë", "bob"].map(|user| UserId::parse(user).unwrap());
    let roles = client.roles(&room, &users).await?;
    let role = |role: &str| Some(role.to_owned());
    ensure!(roles == [role("member"), None, role("owner"), role("member"), role("member")], "{roles:?}");
    let elsewhere = client.roles(&RoomId::parse("elsewhere")?, &users).await?;
    ensure!(elsewhere == [const { None }; 5], "{elsewhere:?}");
    let accounts = client.accounts(&users).await?;
    let known: Vec<_> =
        accounts.iter().map(|account| account.as_ref().map(|account| account.blocked)).collect();
    ensure!(known == [Some(true), None, Some(false), Some(false), Some(true)], "{accounts:?}");
    ensure!(accounts[0].as_ref().and_then(|account| account.name.as_deref()) == Some("Bob"), "{accounts:?}");
    let loaded = users.iter().map(|user| client.load_account(user));
    ensure!(futures_util::future::try_join_all(loaded).await? == accounts);
    let cached = stack.shards().command::<bool>(redis::cmd("EXISTS").arg("account:{bob}")).await?;
    ensure!(cached, "the loaded account is not cached");
    ensure!(stack.database().value("SELECT count(*) FROM users WHERE id = 'nobody'").await? == "0");

    // The client splits a long list into several requests. The server refuses a request that is too long.
    let longest = |n: usize| format!("{n:04}{}", "🙂".repeat(124));
    let many: Vec<UserId> = (0..400).map(|n| UserId::parse(&longest(n)).unwrap()).collect();
    ensure!(client.roles(&room, &many).await?.len() == 400 && client.accounts(&many).await?.len() == 400);
    for path in ["roles", "accounts"] {
        let names: Vec<String> = (0..151).map(|n| n.to_string()).collect();
        let body = json!({"room": room, "users": names}).to_string();
        let path = format!("/internal/v1/{path}");
        ensure!(post(&stack, &path, Some(stack.internal_secret()), body).await?.0 == 413, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn internal_request_without_database_is_unavailable_in_time() -> Result<()> {
    let stack = Stack::builder().gateways(0).own_postgres().start().await?;
    stack.database().server().stop().await?;
    let ask = json!({"user": "alice"}).to_string();
    let answer = post(&stack, "/internal/v1/rooms", Some(stack.internal_secret()), ask);
    let (status, problem) = tokio::time::timeout(Duration::from_secs(4), answer).await??;
    ensure!((status, &problem["code"]) == (503, &json!("unavailable")), "{status} {problem}");
    let ready = http::client().get(format!("{}/readyz", stack.persistence(0).admin())).send().await?;
    ensure!(ready.status() == 503 && ready.text().await?.contains("database"));
    Ok(())
}

#[tokio::test]
async fn concurrent_callers_get_their_own_answers() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, alice) = (internal_client(&stack)?, UserId::parse("alice")?);
    let mut rooms = Vec::new();
    for n in 0..5 {
        let members = [format!("member-{n}")];
        let room = stack.http("alice").new_room(&[members[0].as_str()]).await?;
        for m in 0..4 {
            stack.http("alice").send(&room, &format!("c{m}"), "x").await?.expect(201);
        }
        rooms.push(RoomId::parse(&room)?);
    }
    let rejected = "UPDATE messages SET client_id = 'gone' WHERE seq = 4; \
        INSERT INTO events (room_id, seq, type, actor_id, client_id, at, body, void_reason, void_told) \
        SELECT id, 9, 'void', 'alice', 'c3', now(), '{}', 'rejected', true FROM rooms";
    stack.database().query(rejected).await?;
    let look_ups = (0..rooms.len() * 5).map(async |n| {
        let (room, m) = (&rooms[n / 5], n % 5);
        let known = client.look_up(room, &alice, &ClientId::parse(&format!("c{m}"))?).await?;
        let expected = match (&known, m) {
            (Some(KnownClientId::Stored { seq, .. }), 0..=2) => seq.0 == m as u64 + 1,
            (known, 3) => *known == Some(KnownClientId::Rejected),
            (known, _) => known.is_none(),
        };
        ensure!(expected, "{n}: {known:?}");
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(look_ups).await?;
    let roles = (0..rooms.len()).map(async |n| {
        let users = [n, (n + 1) % 5].map(|n| UserId::parse(&format!("member-{n}")).unwrap());
        let roles = client.roles(&rooms[n], &users).await?;
        ensure!(roles == [Some("member".to_owned()), None], "{n}: {roles:?}");
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(roles).await?;
    let memberships = (0..rooms.len()).map(async |n| {
        let of_member = client.rooms(&UserId::parse(&format!("member-{n}"))?, Epoch(1)).await?;
        ensure!(
            of_member.rooms.keys().eq([&rooms[n]]) && of_member.recent == rooms[n..=n],
            "{n}: {of_member:?}"
        );
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(memberships).await?;
    let key = |n: usize| json!({"room": rooms[0], "sender": "alice", "client_id": n.to_string()});
    let mut body = key(0);
    body["more"] = (1..101).map(key).collect();
    let answer =
        post(&stack, "/internal/v1/look-up", Some(stack.internal_secret()), body.to_string()).await?;
    ensure!(answer.0 == 413, "{answer:?}");
    let users: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let body = json!({"user": "alice", "more": users}).to_string();
    let answer = post(&stack, "/internal/v1/rooms", Some(stack.internal_secret()), body).await?;
    ensure!(answer.0 == 413, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn users_in_partitions_of_an_earlier_epoch_do_not_delay_others() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, secret) = (internal_client(&stack)?, Some(stack.internal_secret()));
    let other = stack.http("bob").new_room(&[]).await?;
    let mut room = stack.http("alice").new_room(&[]).await?;
    let partition = |room: &str| anyhow::Ok(Partition::of(&RoomId::parse(room)?));
    while partition(&room)? == partition(&other)? {
        room = stack.http("alice").new_room(&[]).await?;
    }
    let rooms = [RoomId::parse(&room)?, RoomId::parse(&other)?];
    let seeded = client.seed(Epoch(1), &rooms).await?;
    ensure!(seeded == [SeedOutcome::Seeded, SeedOutcome::Seeded], "{seeded:?}");
    let number = partition(&room)?.0;
    stack.database().query(&format!("UPDATE partitions SET epoch = 0 WHERE partition = {number}")).await?;
    stack.shards().command::<i64>(redis::cmd("DEL").arg(keys::room(&rooms[0]))).await?;
    let ask = json!({"user": "alice", "epoch": 1, "more": ["bob", "nobody"]}).to_string();
    let (status, answer) = post(&stack, "/internal/v1/rooms", secret, ask).await?;
    ensure!(status == 200 && answer["is_first_missing"] == true, "{status} {answer}");
    ensure!(
        answer["rooms"] == json!({}) && answer["more"][0]["rooms"][&other]["role"] == "owner",
        "{answer}"
    );
    ensure!(answer["more"][1]["rooms"] == json!({}), "{answer}");
    let held = hold_partition(&stack, partition(&room)?, 6.0).await?;
    let alice = UserId::parse("alice")?;
    let waiting = client.rooms(&alice, Epoch(1));
    let early = tokio::time::timeout(Duration::from_secs(8), waiting).await?;
    ensure!(early.is_err(), "the memberships are answered before the partition is in the epoch: {early:?}");
    held.await?;
    let loaded = client.rooms(&alice, Epoch(1)).await?;
    ensure!(loaded.rooms.contains_key(&rooms[0]), "{loaded:?}");
    Ok(())
}
