//! Limits of members per room, of rooms per user, of what a user may do per day, and of commands over HTTP.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, redis::RedisTopology};

#[tokio::test]
async fn full_room_refuses_joins_until_member_leaves() -> Result<()> {
    let stack =
        Stack::builder().gateways(0).persistence_env("TIDINGS_MAX_MEMBERS_PER_ROOM", 2).start().await?;
    let alice = stack.http("alice");
    let room = alice.create_room("public", &["bob"]).await?.expect(201).body["room"].clone();
    let room = room.as_str().unwrap_or_default();
    ensure!(alice.put_member(room, "carol", "member").await?.expect(413).code() == "too_large");
    stack.http("carol").join_room(room, "carol").await?.expect(413);
    alice.put_member(room, "bob", "vip").await?.expect(200);
    alice.remove_member(room, "bob").await?.expect(200);
    stack.http("carol").join_room(room, "carol").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn new_room_over_member_limit_is_refused() -> Result<()> {
    let stack =
        Stack::builder().gateways(0).persistence_env("TIDINGS_MAX_MEMBERS_PER_ROOM", 2).start().await?;
    let alice = stack.http("alice");
    for kind in ["private", "public"] {
        let refused = alice.create_room(kind, &["bob", "carol"]).await?.expect(413);
        ensure!((refused.code(), refused.body["field"].as_str()) == ("too_large", Some("members")));
        alice.create_room(kind, &["bob"]).await?.expect(201);
    }
    alice.create_room("direct", &["bob"]).await?.expect(201);
    let counts = "SELECT max(member_count) || ' ' || count(*) FROM rooms";
    ensure!(stack.database().value(counts).await? == "2 3");
    Ok(())
}

#[tokio::test]
async fn user_at_room_limit_cannot_join_another() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_MAX_ROOMS_PER_USER", 2).start().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let public = async |owner: &str| {
        let room = stack.http(owner).create_room("public", &[]).await?.expect(201).body["room"].clone();
        anyhow::Ok(room.as_str().unwrap_or_default().to_owned())
    };
    let (first, second) = (public("alice").await?, public("alice").await?);
    let third = alice.create_room("private", &[]).await?.expect(413);
    ensure!((third.code(), third.body["field"].as_str()) == ("too_large", Some("members")));
    bob.create_room("private", &["alice"]).await?.expect(201);
    bob.join_room(&first, "bob").await?.expect(200);
    bob.join_room(&second, "bob").await?.expect(413);
    bob.remove_member(&first, "bob").await?.expect(200);
    bob.join_room(&second, "bob").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn memberships_by_others_leave_own_room_limit() -> Result<()> {
    let builder = Stack::builder().gateways(0).persistence_env("TIDINGS_MAX_ROOMS_PER_USER", 2);
    let stack = builder.persistence_env("TIDINGS_MAX_ROOMS_BY_OTHERS", 3).start().await?;
    let [mallory, carol, bob] = ["mallory", "carol", "bob"].map(|name| stack.http(name));
    let first = mallory.new_room(&["bob"]).await?;
    let second = mallory.new_room(&[]).await?;
    mallory.put_member(&second, "bob", "member").await?.expect(200);
    carol.create_room("direct", &["bob"]).await?.expect(201);
    let public = carol.create_room("public", &[]).await?.expect(201).body["room"].clone();
    // Others have filled the other limit, and bob still has all rooms of his own.
    bob.create_room("private", &[]).await?.expect(201);
    bob.join_room(public.as_str().unwrap_or_default(), "bob").await?.expect(200);
    bob.create_room("private", &[]).await?.expect(413);
    let dave = stack.http("dave");
    let full = dave.create_room("direct", &["bob"]).await?.expect(413);
    ensure!((full.code(), full.body["field"].as_str()) == ("too_large", Some("members")));
    let room = dave.new_room(&[]).await?;
    ensure!(dave.put_member(&room, "bob", "member").await?.expect(413).code() == "too_large");
    bob.remove_member(&first, "bob").await?.expect(200);
    dave.put_member(&room, "bob", "member").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn daily_limits_hold_over_nodes_and_restarts() -> Result<()> {
    let builder = Stack::builder().gateways(0).persistence(2).persistence_env("TIDINGS_ROOMS_PER_DAY", 3);
    let builder = builder.persistence_env("TIDINGS_MEMBERS_PER_DAY", 4);
    let stack = builder.persistence_env("TIDINGS_NEW_USERS_PER_DAY", 2).start().await?;
    let [one, two] = [0, 1].map(|node| stack.http_at(node, "alice"));
    // A direct room that exists already is not created again, and a refused request does not count.
    one.create_room("direct", &["bob"]).await?.expect(201);
    one.create_room("direct", &["bob"]).await?.expect(200);
    one.create_room("private", &["u1", "u2", "u3"]).await?.expect(413);
    let room = two.new_room(&["bob"]).await?;
    two.archive_room(&room).await?.expect(204);
    let room = two.new_room(&[]).await?;
    let refused = one.create_room("private", &[]).await?.expect(429);
    ensure!(refused.code() == "rate_limited" && refused.body["reason"] == "daily_limit", "{}", refused.body);
    // One room more is allowed after a third of a day.
    let wait = refused.body["retry_after_ms"].as_u64().unwrap_or_default();
    ensure!((20_000_000..=28_800_000).contains(&wait), "{wait} ms");
    // Nor does a direct room help, and a restart forgets nothing.
    stack.persistence(0).restart().await?;
    stack.persistence(0).until_ready().await?;
    let one = stack.http_at(0, "alice");
    one.create_room("direct", &["carol"]).await?.expect(429);
    // bob was the first unknown user, eve is the second.
    one.put_member(&room, "eve", "member").await?.expect(200);
    let unknown = two.put_member(&room, "u4", "member").await?.expect(429);
    ensure!(unknown.body["reason"] == "daily_limit", "{}", unknown.body);
    let users = "SELECT string_agg(id, ' ' ORDER BY id) FROM users";
    ensure!(stack.database().value(users).await? == "alice bob eve");
    // The fourth added member is the last. Changes of roles and removals do not count.
    two.put_member(&room, "bob", "member").await?.expect(200);
    two.put_member(&room, "bob", "admin").await?.expect(200);
    two.remove_member(&room, "bob").await?.expect(200);
    one.put_member(&room, "bob", "member").await?.expect(429);
    // Others have limits of their own, and back ends have none.
    stack.http("bob").create_room("private", &["alice"]).await?.expect(201);
    let back_end = stack.http("alice").with_token(&stack.admin_token("alice"));
    for number in 0..5 {
        back_end.create_room("private", &[&format!("v{number}")]).await?.expect(201);
        back_end.put_member(&room, &format!("w{number}"), "member").await?.expect(200);
    }
    Ok(())
}

#[tokio::test]
async fn http_commands_are_limited_per_user_with_retry_after() -> Result<()> {
    let stack = Stack::builder()
        .gateways(0)
        .persistence_env("TIDINGS_MESSAGES_PER_SECOND", 1)
        .persistence_env("TIDINGS_MESSAGES_BURST", 4)
        .start()
        .await?;
    let (alice, root) = (stack.http("alice"), stack.http("root").with_token(&stack.admin_token("root")));
    let room = alice.new_room(&["bob", "carol"]).await?;
    let other = alice.new_room(&[]).await?;
    // Each kind of command is repeated, because the limit allows one more each second, and a busy machine may need that
    // long.
    for kind in 0..6 {
        let mut refused = None;
        for n in 0..40 {
            let answer = match kind {
                0 => alice.send(&room, &format!("a{n}"), "one").await?,
                1 => alice.put_member(&room, "carol", ["member", "guest"][n % 2]).await?,
                2 => alice.change_room(&room, json!({"name": format!("Tea {n}")})).await?,
                3 => {
                    alice.request(reqwest::Method::DELETE, &format!("/rooms/{room}/messages/1"), None).await?
                }
                4 => alice.create_room("private", &[]).await?,
                _ => alice.archive_room(&other).await?,
            };
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.context("no request was refused")?;
        ensure!(refused.code() == "rate_limited", "{kind}: {}", refused.body);
        ensure!(refused.body["retry_after_ms"].as_u64().is_some_and(|ms| (1..=1000).contains(&ms)));
    }
    // Each user has a separate limit. Requests with the admin scope, and reads of history, have no limit.
    stack.http("bob").send(&room, "b1", "hi").await?.expect(201);
    for n in 0..10 {
        root.put_member(&room, &format!("u{n}"), "member").await?.expect(200);
        alice.messages(&room, "").await?.expect(200);
    }
    let begun = std::time::Instant::now();
    while alice.send(&room, "a2", "two").await?.status == 429 {
        ensure!(begun.elapsed().as_secs() < 20, "sending was not allowed again");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn http_marks_and_presence_have_separate_limits() -> Result<()> {
    let stack = Stack::builder()
        .gateways(0)
        .persistence_env("TIDINGS_MARKS_PER_SECOND", 1)
        .persistence_env("TIDINGS_PRESENCE_PER_SECOND", 1)
        .start()
        .await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let (delivered, away) = (json!({"seq": 1}), json!({"status": "away"}));
    let (mut marks, mut presence) = (0, 0);
    for _ in 0..8 {
        let answers = [
            alice.read(&room, 1).await?,
            alice.post(&format!("/rooms/{room}/delivered"), delivered.clone()).await?,
        ];
        marks += answers.iter().filter(|answer| answer.code() == "rate_limited").count();
        let answers = [alice.get("/presence?user=bob").await?, alice.post("/presence", away.clone()).await?];
        presence += answers.iter().filter(|answer| answer.code() == "rate_limited").count();
    }
    // Each limit allows a burst of four requests, then one per second.
    ensure!(
        (1..=12).contains(&marks) && (1..=12).contains(&presence),
        "{marks} marks and {presence} presence requests were refused"
    );
    alice.send(&room, "d", "not held up by these").await?.expect(201);
    ensure!(stack.http("bob").get("/presence?user=alice").await?.status == 200);
    Ok(())
}

#[tokio::test]
async fn large_room_creation_costs_several_commands() -> Result<()> {
    let stack = Stack::builder()
        .gateways(0)
        .persistence_env("TIDINGS_MESSAGES_PER_SECOND", 1)
        .persistence_env("TIDINGS_MESSAGES_BURST", 8)
        .start()
        .await?;
    let people: Vec<String> = (0..650).map(|n| format!("u{n}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let alice = stack.http("alice");
    alice.create_room("private", &people).await?.expect(201);
    let refused = alice.create_room("private", &people).await?.expect(429);
    ensure!(refused.body["retry_after_ms"].as_u64().is_some_and(|ms| ms > 1000), "{}", refused.body);
    ensure!(stack.database().value("SELECT count(*) FROM rooms").await? == "1");
    Ok(())
}

/// Number of `HSET` calls that Redis has executed, including those of scripts.
async fn hset_calls(stack: &Stack) -> Result<u64> {
    let stats: String = stack.redis().command(redis::cmd("INFO").arg("commandstats")).await?;
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hset:calls="));
    Ok(calls.and_then(|calls| calls.split(',').next()).unwrap_or("0").parse()?)
}

#[tokio::test]
async fn join_of_mine_beyond_200_rooms_does_not_write_cache() -> Result<()> {
    let one_redis = Stack::builder().redis(RedisTopology::Single);
    let stack = one_redis.gateway_env("TIDINGS_JOINS_PER_SECOND", 1000).start().await?;
    for _ in 0..220 {
        stack.http("alice").new_room(&[]).await?;
    }
    let client = stack.connect("alice").await?;
    let join = async || {
        let (before, joined) = (hset_calls(&stack).await?, client.join_mine().await?);
        ensure!(joined.rooms.len() == 200 && joined.more, "{joined:?}");
        anyhow::Ok(hset_calls(&stack).await? - before)
    };
    // The first join seeds the rooms and fills the cache.
    join().await?;
    let cached = redis::cmd("HLEN").arg("rooms:{alice}").to_owned();
    ensure!(stack.shards().command::<u64>(&cached).await? == 221);
    // Other tasks, such as the renewal of the node lease, may also write.
    let written = join().await?;
    ensure!(written < 50, "{written} HSET calls although the memberships are cached");
    stack.shards().command::<()>(redis::cmd("DEL").arg("rooms:{alice}")).await?;
    let written = join().await?;
    ensure!(written < 50, "{written} HSET calls to fill the cache");
    ensure!(stack.shards().command::<u64>(&cached).await? == 221);
    Ok(())
}
