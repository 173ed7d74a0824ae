//! Moving marks in Redis: what is appended and published, on a real log and a real database, without a gateway.

use crate::room_log;
use std::time::Duration;

use crate::room_log::RoomLog;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::{
    error::ErrorCode,
    ids::{RoomId, Seq, UserId},
    log::{
        Entry, Marked, ReadMark, Record, keys,
        stored::Stored,
        subscriber::{Event, Subscriber},
    },
    people::{self, Notice},
    receipts::Receipts,
};
use tokio::sync::mpsc;

/// Far above the time in which receipts are held back.
const QUIET: Duration = Duration::from_millis(900);

/// A room with messages, and what is published about it.
struct World {
    stack: Stack,
    room: RoomLog,
    bob: UserId,
    _subscriber: Subscriber,
    published: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Vec<u8>)>>,
}

#[derive(Debug, PartialEq)]
enum Heard {
    /// By everybody in the room.
    Room(Value),
    /// By bob's connections; whether the room hears of it as well.
    Bob { pushed: bool, frame: Value },
}

impl World {
    async fn new(messages: u64) -> Result<Self> {
        let stack = Stack::builder().gateways(0).start().await?;
        let room = RoomLog::new(&stack, 10_000).await?;
        let bob = UserId::parse("bob")?;
        let (publish, published) = mpsc::unbounded_channel();
        let subscriber =
            Subscriber::start(tidings_shared::log::client(&stack.redis().url())?, move |event| {
                if let Event::Message { channel, payload } = event {
                    let _ = publish.send((channel, payload.to_vec()));
                }
            });
        for channel in [keys::room(&room.room), people::channel(&bob)] {
            subscriber.subscribe(channel).context("the queue is empty")?.await?;
        }
        let published = tokio::sync::Mutex::new(published);
        let world = Self { stack, room, bob, _subscriber: subscriber, published };
        for n in 1..=messages {
            world.room.send(&n.to_string()).await?;
        }
        world.heard().await?;
        Ok(world)
    }

    async fn mark(&self, marks: &[(&str, &str, u64)]) -> Result<Marked> {
        let mark = |(kind, user, seq): &(&str, &str, u64)| {
            anyhow::Ok(ReadMark {
                user: UserId::parse(user)?,
                seq: Seq(*seq),
                delivered: *kind == "delivered",
            })
        };
        let marks: Vec<ReadMark> = marks.iter().map(mark).collect::<Result<_>>()?;
        let marked = self.room.log.mark(&self.room.room, &marks).await?;
        ensure!(self.room.stored(&marked.accepted).await == Stored::Here);
        Ok(marked)
    }

    /// Where marks of one call stand.
    async fn stands(&self, marks: &[(&str, &str, u64)]) -> Result<Vec<Option<u64>>> {
        Ok(self.mark(marks).await?.stands.into_iter().map(|seq| seq.map(|seq| seq.0)).collect())
    }

    /// All that was published up to now and is about marks. Receipts that wait are published first.
    async fn heard(&self) -> Result<Vec<Heard>> {
        tokio::time::sleep(QUIET).await;
        self.mark(&[]).await?;
        let end = "the end of this list";
        self.room.redis::<()>(redis::cmd("PUBLISH").arg(people::channel(&self.bob)).arg(end)).await?;
        let (mut published, mut heard) = (self.published.lock().await, Vec::new());
        loop {
            let (channel, payload) =
                tokio::time::timeout(room_log::PATIENCE, published.recv()).await?.context("subscribed")?;
            if payload == end.as_bytes() {
                return Ok(heard);
            }
            if channel == people::channel(&self.bob) {
                let notice = Notice::parse(&payload.into()).context("a notice")?;
                if let Notice::Read { room, pushed, frame } = notice {
                    ensure!(room == self.room.room);
                    heard.push(Heard::Bob { pushed, frame: serde_json::from_slice(&frame)? });
                }
            } else {
                let record = Record::parse(payload.into())?;
                if record.is_live_only() {
                    let frame: Value = serde_json::from_slice(record.json())?;
                    ensure!(frame["type"] == record.kind() && frame["room"] == record.room());
                    heard.push(Heard::Room(frame));
                }
            }
        }
    }

    fn receipt(&self, kind: &str, marks: &[(&str, u64, &str)]) -> Value {
        let marks: Vec<Value> =
            marks.iter().map(|(user, seq, at)| json!({"user": user, "seq": seq, "at": at})).collect();
        json!({"type": kind, "room": self.room.room, "marks": marks})
    }

    async fn stored(&self, user: &str) -> Result<Value> {
        let path = format!("/rooms/{}/receipts", self.room.room);
        let receipts = self.stack.http("alice").get(&path).await?.expect(200).body;
        let receipts = receipts["receipts"].as_array().context("a list")?;
        Ok(receipts.iter().find(|receipt| receipt["user"] == user).cloned().unwrap_or_default())
    }

    async fn change_membership(&self, kind: &str, role: &str) -> Result<()> {
        let body = json!({"user": "bob", "role": role, "by": "alice"}).to_string();
        let membership = Some((&self.bob, role));
        let entry = Entry { membership, ..Entry::new(&self.room.room, kind, body) };
        let accepted = self.room.log.append(&entry).await?;
        ensure!(self.room.stored(&accepted).await == Stored::Here);
        Ok(())
    }
}

#[tokio::test]
async fn a_mark_that_moves_is_told_once_to_the_room_and_to_its_user_and_one_that_does_not_to_nobody()
-> Result<()> {
    let world = World::new(5).await?;
    ensure!(world.stands(&[("read", "bob", 2)]).await? == [Some(2)]);
    let at = world.stored("bob").await?["read_at"].as_str().context("a time")?.to_owned();
    let receipt = world.receipt("receipt:read", &[("bob", 2, &at)]);
    let heard = world.heard().await?;
    ensure!(heard.contains(&Heard::Room(receipt.clone())), "{heard:?}");
    ensure!(heard.contains(&Heard::Bob { pushed: true, frame: receipt }) && heard.len() == 2, "{heard:?}");

    let before = world.mark(&[]).await?.accepted.ingest;
    ensure!(world.stands(&[("read", "bob", 1), ("read", "bob", 2)]).await? == [Some(2), Some(2)]);
    ensure!(world.mark(&[("read", "bob", 2)]).await?.accepted.ingest == before, "nothing was appended");
    ensure!(world.heard().await?.is_empty());

    // Nobody hears of delivery but the room.
    ensure!(world.stands(&[("delivered", "bob", 99)]).await? == [Some(5)], "above the head it is clamped");
    let at = world.stored("bob").await?["delivered_at"].as_str().context("a time")?.to_owned();
    ensure!(world.heard().await? == [Heard::Room(world.receipt("receipt:delivered", &[("bob", 5, &at)]))]);
    let stored = world.stored("bob").await?;
    ensure!((&stored["read_seq"], &stored["delivered_seq"]) == (&json!(2), &json!(5)), "{stored}");
    Ok(())
}

#[tokio::test]
async fn what_only_the_database_remembers_counts_as_well() -> Result<()> {
    let world = World::new(5).await?;
    world.mark(&[("read", "bob", 3), ("delivered", "bob", 4)]).await?;
    ensure!(world.heard().await?.len() == 3);
    let forget = async || world.room.redis::<()>(redis::cmd("DEL").arg(keys::marks(&world.room.room))).await;
    forget().await?;
    ensure!(world.stands(&[("read", "bob", 3), ("delivered", "bob", 4)]).await? == [Some(3), Some(4)]);
    ensure!(world.heard().await?.is_empty(), "nothing moved");
    forget().await?;
    let stands = world.stands(&[("read", "bob", 1), ("read", "alice", 1), ("delivered", "bob", 5)]).await?;
    ensure!(stands == [Some(3), Some(1), Some(5)], "{stands:?}");
    ensure!(world.heard().await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn receipts_of_one_room_are_at_least_half_a_second_apart_and_each_tells_the_last() -> Result<()> {
    let world = World::new(9).await?;
    ensure!(world.mark(&[("read", "alice", 1)]).await?.held.is_none(), "the first goes at once");
    let held = world.mark(&[("read", "bob", 1), ("delivered", "bob", 1)]).await?.held.context("held")?;
    ensure!(held <= Duration::from_millis(500), "{held:?}");
    world.mark(&[("read", "bob", 2)]).await?;
    world.mark(&[("read", "alice", 2), ("read", "bob", 3)]).await?;
    let frames: Vec<Value> = world
        .heard()
        .await?
        .into_iter()
        .filter_map(|heard| match heard {
            Heard::Room(frame) => Some(frame),
            Heard::Bob { .. } => None,
        })
        .collect();
    let told = |frame: &Value| {
        let mut marks: Vec<(String, u64)> = frame["marks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|mark| {
                (mark["user"].as_str().unwrap_or_default().to_owned(), mark["seq"].as_u64().unwrap_or(0))
            })
            .collect();
        marks.sort_unstable();
        (frame["type"].as_str().unwrap_or_default().to_owned(), marks)
    };
    let told: Vec<_> = frames.iter().map(told).collect();
    let marks = |marks: &[(&str, u64)]| {
        marks.iter().map(|(user, seq)| ((*user).to_owned(), *seq)).collect::<Vec<_>>()
    };
    ensure!(
        told == [
            ("receipt:read".to_owned(), marks(&[("alice", 1)])),
            ("receipt:read".to_owned(), marks(&[("alice", 2), ("bob", 3)])),
            ("receipt:delivered".to_owned(), marks(&[("bob", 1)])),
        ],
        "{told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn in_a_room_of_more_than_a_hundred_only_one_s_own_connections_hear_of_it() -> Result<()> {
    let world = World::new(2).await?;
    let set_members = async |members: u64| {
        let room = keys::room(&world.room.room);
        world.room.redis::<()>(redis::cmd("HSET").arg(room).arg("members").arg(members)).await
    };
    set_members(101).await?;
    world.mark(&[("read", "bob", 1), ("delivered", "bob", 1), ("read", "alice", 1)]).await?;
    let heard = world.heard().await?;
    ensure!(
        matches!(&heard[..], [Heard::Bob { pushed: false, frame }] if frame["marks"][0]["seq"] == 1),
        "{heard:?}"
    );
    set_members(100).await?;
    world.mark(&[("read", "bob", 2)]).await?;
    ensure!(world.heard().await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn who_was_removed_has_no_mark_and_who_comes_back_begins_anew() -> Result<()> {
    let world = World::new(5).await?;
    world.mark(&[("read", "bob", 3)]).await?;
    ensure!(world.mark(&[("read", "bob", 4)]).await?.held.is_some());
    // What waits is not told behind the removal.
    world.change_membership("member:removed", "removed").await?;
    let heard = world.heard().await?;
    ensure!(heard.len() == 2, "{heard:?}");
    ensure!(
        world.stands(&[("read", "bob", 5), ("read", "alice", 1), ("read", "eve", 1)]).await?
            == [None, Some(1), None]
    );
    let heard = world.heard().await?;
    ensure!(matches!(&heard[..], [Heard::Room(frame)] if frame["marks"][0]["user"] == "alice"), "{heard:?}");
    world.change_membership("member:added", "member").await?;
    ensure!(world.stands(&[("read", "bob", 3)]).await? == [Some(3)]);
    Ok(())
}

#[tokio::test]
async fn marks_of_an_epoch_that_was_lost_hold_back_none_of_the_next() -> Result<()> {
    let world = World::new(3).await?;
    world.mark(&[("read", "bob", 3)]).await?;
    let kept: Vec<String> =
        world.room.redis(redis::cmd("HGETALL").arg(keys::marks(&world.room.room))).await?;
    world.stack.redis().restart_empty().await?;
    world.room.send("4").await?;
    // As if a replica with those marks had taken over, and what they were about was lost.
    world.stack.database().query("UPDATE members SET read_seq = 1").await?;
    world.room.redis::<()>(redis::cmd("HSET").arg(keys::marks(&world.room.room)).arg(&kept)).await?;
    ensure!(world.stands(&[("read", "bob", 2)]).await? == [Some(2)]);
    Ok(())
}

#[tokio::test]
async fn marks_of_hundreds_of_members_at_once_are_all_moved_and_answered() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    let people: Vec<UserId> =
        (0..700).map(|n| UserId::parse(&format!("member-{n}"))).collect::<Result<_, _>>()?;
    let names: Vec<&str> = people.iter().map(UserId::as_str).collect();
    let room_id = RoomId::parse(&stack.http("alice").new_room(&names).await?)?;
    room.log.append(&Entry { room: &room_id, ..room.message("x", "x") }).await?;
    let receipts = Receipts::start(room.log.clone());
    let marks = people.iter().map(|user| {
        let (receipts, room, user) = (receipts.clone(), room_id.clone(), user.clone());
        tokio::spawn(async move { receipts.mark(&room, &user, Seq(1), false).await })
    });
    let eve = UserId::parse("eve")?;
    // Somebody who is no member is told so, whoever else marks.
    let stranger = receipts.mark(&room_id, &eve, Seq(1), false);
    let marks: Vec<_> = marks.collect();
    ensure!(stranger.await.is_err_and(|refusal| refusal.code == ErrorCode::NotFound));
    for mark in marks {
        ensure!(mark.await? == Ok(Seq(1)));
    }
    let moved = format!("SELECT count(*) FROM members WHERE room_id = '{room_id}' AND read_seq = 1");
    ensure!(stack.database().value(&moved).await? == "700");
    Ok(())
}

#[tokio::test]
async fn a_user_with_marks_of_json_in_their_name_is_told_as_they_are() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 100).await?;
    room.send("1").await?;
    let odd = r#"o"d\d/é"#;
    let room_id = stack.http("alice").new_room(&[odd]).await?;
    let room_id = RoomId::parse(&room_id)?;
    let message = Entry { room: &room_id, ..room.message("x", "x") };
    let accepted = room.log.append(&message).await?;
    let mark = ReadMark { user: UserId::parse(odd)?, seq: Seq(1), delivered: false };
    let (publish, mut published) = mpsc::unbounded_channel();
    let subscriber = Subscriber::start(tidings_shared::log::client(&stack.redis().url())?, move |event| {
        if let Event::Message { payload, .. } = event {
            let _ = publish.send(payload);
        }
    });
    subscriber.subscribe(keys::room(&room_id)).context("the queue is empty")?.await?;
    let marked = room.log.mark(&room_id, &[mark]).await?;
    ensure!(accepted.seq == Seq(1) && marked.stands == [Some(Seq(1))]);
    let payload = tokio::time::timeout(room_log::PATIENCE, published.recv()).await?.context("published")?;
    let frame: Value = serde_json::from_slice(Record::parse(payload)?.json())?;
    ensure!(frame["marks"][0]["user"] == odd, "{frame}");
    let receipts = format!("SELECT user_id FROM members WHERE room_id = '{room_id}' AND read_seq = 1");
    let begun = std::time::Instant::now();
    while stack.database().query(&receipts).await? != [[odd]] {
        ensure!(begun.elapsed() < room_log::PATIENCE, "the mark was not stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
