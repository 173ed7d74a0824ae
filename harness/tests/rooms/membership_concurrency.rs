//! Concurrent changes of memberships take no lock: a decision on stale data is made again.

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold_partition};
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tidings_harness::{Http, Stack};
use tidings_shared::{
    ids::{RoomId, Seq, UserId},
    log::{AppendError, Entry, KnownMemberships, keys::Partition},
    role::MinRole,
};

const MAX_BACKLOG_RECORDS: u64 = 10_000;

async fn start_two_nodes() -> Result<Stack> {
    Stack::builder().gateways(0).persistence(2).start().await
}

fn room_of_owners(users: &[&str]) -> serde_json::Value {
    let members: Vec<_> = users.iter().map(|user| json!({"user": user, "role": "owner"})).collect();
    json!({"kind": "private", "members": members})
}

async fn new_room(http: &Http, body: serde_json::Value) -> Result<RoomId> {
    let room = http.post("/rooms", body).await?.expect(201).body;
    Ok(RoomId::parse(room["room"].as_str().unwrap_or_default())?)
}

#[tokio::test]
async fn two_owners_leaving_at_once_leave_one_owner() -> Result<()> {
    let stack = start_two_nodes().await?;
    for round in 0..10 {
        let room = new_room(&stack.http("alice"), room_of_owners(&["bob"])).await?;
        let (alice, bob) = (stack.http_at(0, "alice"), stack.http_at(1, "bob"));
        let answers = match round % 3 {
            0 => tokio::join!(
                alice.remove_member(room.as_str(), "alice"),
                bob.remove_member(room.as_str(), "bob")
            ),
            1 => tokio::join!(
                alice.put_member(room.as_str(), "alice", "member"),
                bob.remove_member(room.as_str(), "bob")
            ),
            _ => tokio::join!(
                alice.remove_member(room.as_str(), "bob"),
                bob.put_member(room.as_str(), "alice", "guest")
            ),
        };
        let mut statuses = [answers.0?.status, answers.1?.status];
        statuses.sort_unstable();
        // The second request is refused: its user is the last owner (409), or no longer an owner (403, 404).
        ensure!(statuses[0] == 200 && [403, 404, 409].contains(&statuses[1]), "round {round}: {statuses:?}");
        let owners = format!("SELECT count(*) FROM members WHERE room_id = '{room}' AND role = 'owner'");
        ensure!(stack.database().value(&owners).await? == "1", "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn overtaken_change_is_decided_again_after_store() -> Result<()> {
    let stack = start_two_nodes().await?;
    let room = new_room(&stack.http("alice"), room_of_owners(&["bob", "carol"])).await?;
    // The first change creates the room's hash, so that later changes do not wait for its seed.
    stack.http("alice").put_member(room.as_str(), "dave", "member").await?.expect(200);
    let hold = hold_partition(&stack, Partition::of(&room), 2.0).await?;
    let leave = |node: usize, user: &'static str| {
        let (http, room) = (stack.http_at(node, user), room.clone());
        tokio::spawn(async move { http.remove_member(room.as_str(), user).await })
    };
    let leaving = [leave(0, "alice"), leave(1, "bob"), leave(0, "carol")];
    let mut statuses = Vec::new();
    for left in leaving {
        statuses.push(left.await??.status);
    }
    hold.await?;
    statuses.sort_unstable();
    ensure!(statuses == [200, 200, 409], "{statuses:?}");
    let rows = stack
        .database()
        .query(&format!("SELECT role FROM members WHERE room_id = '{room}' ORDER BY 1"))
        .await?;
    ensure!(rows == [["member"], ["owner"]], "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn conditional_append_is_refused_after_relevant_change() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let log = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let [bob, carol] = ["bob", "carol"].map(|user| UserId::parse(user).unwrap());
    let change = |user: &'static str, role: &'static str, upto: KnownMemberships| {
        let user = if user == "bob" { &bob } else { &carol };
        let entry = Entry {
            sender: Some(&log.alice),
            membership: Some((user, role)),
            members_upto: Some(upto),
            min_role: MinRole::Anyone,
            ..Entry::new(&log.room, "member:changed", "{}".to_owned())
        };
        let log = &log.log;
        async move { log.append(&entry).await.map(|accepted| accepted.seq) }
    };
    log.append("m1").await?;
    ensure!(
        change("bob", "vip", KnownMemberships::Room(Seq(0))).await == Ok(Seq(2)),
        "a message must not make a change stale"
    );
    ensure!(change("carol", "vip", KnownMemberships::Room(Seq(1))).await == Err(AppendError::Stale(Seq(2))));
    ensure!(
        change("carol", "vip", KnownMemberships::User(Seq(1))).await == Ok(Seq(3)),
        "a change of bob must not make carol's change stale"
    );
    ensure!(change("bob", "guest", KnownMemberships::User(Seq(1))).await == Err(AppendError::Stale(Seq(2))));
    ensure!(change("bob", "guest", KnownMemberships::User(Seq(2))).await == Ok(Seq(4)));
    // If the marks are lost with the room's hash, a change must be decided on everything up to the base.
    log.until_head(&stack, 4).await?;
    stack.shards().restart_empty().await?;
    let begun = std::time::Instant::now();
    while let Err(error) = log.append("m5").await {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{error:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!(
        change("carol", "guest", KnownMemberships::User(Seq(3))).await == Err(AppendError::Stale(Seq(4)))
    );
    ensure!(change("carol", "guest", KnownMemberships::User(Seq(4))).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn three_hundred_users_join_public_room_at_once() -> Result<()> {
    let stack = start_two_nodes().await?;
    let room = new_room(&stack.http("alice"), json!({"kind": "public"})).await?;
    let begun = std::time::Instant::now();
    let joins = (0..300).map(|n| {
        let (user, room) = (format!("u{n}"), room.clone());
        let http = stack.http_at(n % 2, &user);
        async move { http.join_room(room.as_str(), &user).await }
    });
    for answer in try_join_all(joins).await? {
        answer.expect(200);
    }
    ensure!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    let seen = stack.http("alice").room(room.as_str()).await?.expect(200).body;
    ensure!((&seen["members"], &seen["head"]["seq"]) == (&json!(301), &json!(300)), "{seen}");
    Ok(())
}

#[tokio::test]
async fn concurrent_add_and_remove_of_member_apply_once() -> Result<()> {
    let stack = start_two_nodes().await?;
    let room = new_room(&stack.http("alice"), json!({"kind": "private"})).await?;
    let nodes: Vec<Http> = (0..20).map(|n| stack.http_at(n % 2, "alice")).collect();
    let adds = nodes.iter().map(|http| http.put_member(room.as_str(), "bob", "member"));
    for answer in try_join_all(adds).await? {
        answer.expect(200);
    }
    let removals = nodes.iter().map(|http| http.remove_member(room.as_str(), "bob"));
    let removed = try_join_all(removals).await?;
    ensure!(removed.iter().filter(|answer| answer.status == 200).count() == 1, "{removed:?}");
    ensure!(removed.iter().all(|answer| [200, 404].contains(&answer.status)), "{removed:?}");
    let kinds = format!("SELECT string_agg(type, ' ' ORDER BY seq) FROM events WHERE room_id = '{room}'");
    ensure!(stack.database().value(&kinds).await? == "member:added member:removed");
    ensure!(stack.http("alice").room(room.as_str()).await?.body["members"] == 1);
    Ok(())
}

#[tokio::test]
async fn concurrently_demoted_admin_acts_before_demotion_or_fails() -> Result<()> {
    let stack = start_two_nodes().await?;
    for round in 0..10 {
        let members = json!({"kind": "private", "members": [{"user": "ada", "role": "admin"}]});
        let room = new_room(&stack.http("alice"), members).await?;
        let (alice, ada) = (stack.http_at(0, "alice"), stack.http_at(1, "ada"));
        let (demoted, added) = tokio::join!(
            alice.put_member(room.as_str(), "ada", "guest"),
            ada.put_member(room.as_str(), "bob", "member")
        );
        demoted?.expect(200);
        let added = added?;
        let order = format!(
            "SELECT string_agg(body->>'user', ' ' ORDER BY seq) FROM events WHERE room_id = '{room}'"
        );
        let order = stack.database().value(&order).await?;
        match added.status {
            200 => ensure!(order == "bob ada", "round {round}: {order}"),
            403 => ensure!(order == "ada", "round {round}: {order}"),
            other => anyhow::bail!("round {round}: {other} {}", added.body),
        }
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_direct_room_creation_yields_one_room() -> Result<()> {
    let stack = start_two_nodes().await?;
    let asked = (0..20).map(|n| {
        let (who, other) = if n % 2 == 0 { ("alice", "bob") } else { ("bob", "alice") };
        let http = stack.http_at((n / 2) % 2, who);
        async move { http.create_room("direct", &[other]).await }
    });
    let answers = try_join_all(asked).await?;
    ensure!(answers.iter().filter(|answer| answer.status == 201).count() == 1, "{answers:?}");
    ensure!(answers.iter().all(|answer| answer.body["room"] == answers[0].body["room"]), "{answers:?}");
    ensure!(stack.database().value("SELECT count(*) FROM rooms").await? == "1");
    ensure!(stack.database().value("SELECT count(*) FROM members").await? == "2");
    Ok(())
}

#[tokio::test]
async fn concurrent_joins_and_leaves_keep_member_count_exact() -> Result<()> {
    let stack = start_two_nodes().await?;
    let room = new_room(&stack.http("alice"), json!({"kind": "public"})).await?;
    let users = (0..12).map(|n| {
        let (user, room) = (format!("u{}", n % 6), room.clone());
        let http = stack.http_at(n % 2, &user);
        async move {
            for _ in 0..8 {
                http.join_room(room.as_str(), &user).await?.expect(200);
                let left = http.remove_member(room.as_str(), &user).await?;
                ensure!([200, 404].contains(&left.status), "{left:?}");
            }
            Ok(())
        }
    });
    try_join_all(users).await?;
    let count = format!(
        "SELECT r.member_count = (SELECT count(*) FROM members m WHERE m.room_id = r.id) FROM rooms r \
         WHERE r.id = '{room}'"
    );
    ensure!(stack.database().value(&count).await? == "t");
    // In log order, each added user was absent before, and each removed user was present.
    let events = format!("SELECT type, body->>'user' FROM events WHERE room_id = '{room}' ORDER BY seq");
    let mut present = std::collections::HashSet::new();
    for row in stack.database().query(&events).await? {
        let (kind, user) = (&row[0], &row[1]);
        let follows =
            if kind == "member:added" { present.insert(user.clone()) } else { present.remove(user) };
        ensure!(follows, "{kind} {user}");
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_archive_requests_all_succeed() -> Result<()> {
    let stack = start_two_nodes().await?;
    let room = new_room(&stack.http("alice"), json!({"kind": "private"})).await?;
    let nodes: Vec<Http> = (0..10).map(|n| stack.http_at(n % 2, "alice")).collect();
    for answer in try_join_all(nodes.iter().map(|http| http.archive_room(room.as_str()))).await? {
        answer.expect(204);
    }
    ensure!(stack.http("alice").room(room.as_str()).await?.expect(200).body["archived"] == true);
    Ok(())
}
