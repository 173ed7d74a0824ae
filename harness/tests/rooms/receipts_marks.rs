//! Read and delivered marks in Redis: their records and publications, on a real log and database, without a gateway.

use std::time::Duration;

use crate::room_log::{self, RoomLog};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_shared::{
    error::ErrorCode,
    ids::{RoomId, Seq, UserId},
    log::{
        Entry, MarkResult, ReadMark, Record, keys,
        stored::Stored,
        subscriber::{Event, Subscriber},
    },
    people::{self, UserNotice},
    receipts::Receipts,
};
use tokio::sync::mpsc;

/// Longer than the time for which receipts are held back.
const QUIET_PERIOD: Duration = Duration::from_millis(900);

/// A room with messages, and everything that is published about it.
struct MarksSetup {
    stack: Stack,
    room: RoomLog,
    bob: UserId,
    _subscriber: Subscriber,
    messages: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Vec<u8>)>>,
}

#[derive(Debug, PartialEq)]
enum Publication {
    /// On the room's channel.
    Room(Value),
    /// A frame on bob's channel. `pushed`: it was also published to the room.
    Bob { pushed: bool, frame: Value },
}

impl MarksSetup {
    async fn new(message_count: u64) -> Result<Self> {
        let stack = Stack::builder().gateways(0).start().await?;
        let room = RoomLog::new(&stack, 10_000).await?;
        let bob = UserId::parse("bob")?;
        let (publish, messages) = mpsc::unbounded_channel();
        let redis = tidings_shared::log::client(&stack.shards().url())?;
        let subscriber = Subscriber::start(room.log.map_watch().clone(), redis, move |event| {
            if let Event::Messages(messages) = event {
                messages.for_each(|(to, payload)| drop(publish.send((to.to_owned(), payload.to_vec()))));
            }
        });
        for channel in [keys::room(&room.room), people::channel(room.log.layout().await, &bob)] {
            subscriber.subscribe(channel).context("the queue is full")?.await?;
        }
        let messages = tokio::sync::Mutex::new(messages);
        let setup = Self { stack, room, bob, _subscriber: subscriber, messages };
        for n in 1..=message_count {
            setup.room.send(&n.to_string()).await?;
        }
        setup.take_publications().await?;
        Ok(setup)
    }

    async fn set_marks(&self, marks: &[(&str, &str, u64)]) -> Result<MarkResult> {
        let mark = |(kind, user, seq): &(&str, &str, u64)| {
            anyhow::Ok(ReadMark {
                user: UserId::parse(user)?,
                seq: Seq(*seq),
                delivered: *kind == "delivered",
            })
        };
        let marks: Vec<ReadMark> = marks.iter().map(mark).collect::<Result<_>>()?;
        let marked = self.room.log.mark(&self.room.room, &marks).await?;
        ensure!(self.room.wait_stored(&marked.accepted).await == Stored::AsAccepted);
        Ok(marked)
    }

    /// Sets marks in one call; returns the position of each mark after that.
    async fn move_marks(&self, marks: &[(&str, &str, u64)]) -> Result<Vec<Option<u64>>> {
        Ok(self.set_marks(marks).await?.positions.into_iter().map(|seq| seq.map(|seq| seq.0)).collect())
    }

    /// Removes and returns the publications about marks so far, also those of receipts that were held back.
    async fn take_publications(&self) -> Result<Vec<Publication>> {
        tokio::time::sleep(QUIET_PERIOD).await;
        self.set_marks(&[]).await?;
        let end = "the end of this list";
        let layout = self.room.log.layout().await;
        let of_bob = people::channel(layout, &self.bob);
        self.room.redis::<()>(redis::cmd(layout.publish_command()).arg(&of_bob).arg(end)).await?;
        let (mut messages, mut published) = (self.messages.lock().await, Vec::new());
        loop {
            let (channel, payload) =
                tokio::time::timeout(room_log::WAIT_TIMEOUT, messages.recv()).await?.context("subscribed")?;
            if payload == end.as_bytes() {
                return Ok(published);
            }
            if channel == of_bob {
                let notice = UserNotice::parse(&payload.into()).context("a notice")?;
                if let UserNotice::Read { room, pushed, frame } = notice {
                    ensure!(room == self.room.room);
                    published.push(Publication::Bob { pushed, frame: serde_json::from_slice(&frame)? });
                }
            } else {
                let record = Record::parse(payload.into())?;
                if record.is_live_only() {
                    let frame: Value = serde_json::from_slice(record.json())?;
                    ensure!(frame["type"] == record.kind() && frame["room"] == record.room());
                    published.push(Publication::Room(frame));
                }
            }
        }
    }

    fn receipt(&self, kind: &str, marks: &[(&str, u64, &str)]) -> Value {
        let marks: Vec<Value> =
            marks.iter().map(|(user, seq, at)| json!({"user": user, "seq": seq, "at": at})).collect();
        json!({"type": kind, "room": self.room.room, "marks": marks})
    }

    async fn stored_receipt(&self, user: &str) -> Result<Value> {
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
        ensure!(self.room.wait_stored(&accepted).await == Stored::AsAccepted);
        Ok(())
    }
}

#[tokio::test]
async fn moved_mark_is_published_once_and_unmoved_mark_never() -> Result<()> {
    let setup = MarksSetup::new(5).await?;
    ensure!(setup.move_marks(&[("read", "bob", 2)]).await? == [Some(2)]);
    let at = setup.stored_receipt("bob").await?["read_at"].as_str().context("a time")?.to_owned();
    let receipt = setup.receipt("receipt:read", &[("bob", 2, &at)]);
    let published = setup.take_publications().await?;
    ensure!(published.contains(&Publication::Room(receipt.clone())), "{published:?}");
    ensure!(
        published.contains(&Publication::Bob { pushed: true, frame: receipt }) && published.len() == 2,
        "{published:?}"
    );

    let before = setup.set_marks(&[]).await?.accepted.ingest;
    ensure!(setup.move_marks(&[("read", "bob", 1), ("read", "bob", 2)]).await? == [Some(2), Some(2)]);
    ensure!(setup.set_marks(&[("read", "bob", 2)]).await?.accepted.ingest == before, "nothing was appended");
    ensure!(setup.take_publications().await?.is_empty());

    // A delivered mark is published only to the room.
    ensure!(setup.move_marks(&[("delivered", "bob", 99)]).await? == [Some(5)], "must be clamped to the head");
    let at = setup.stored_receipt("bob").await?["delivered_at"].as_str().context("a time")?.to_owned();
    let expected = Publication::Room(setup.receipt("receipt:delivered", &[("bob", 5, &at)]));
    ensure!(setup.take_publications().await? == [expected]);
    let stored = setup.stored_receipt("bob").await?;
    ensure!((&stored["read_seq"], &stored["delivered_seq"]) == (&json!(2), &json!(5)), "{stored}");
    Ok(())
}

#[tokio::test]
async fn marks_known_only_to_database_count() -> Result<()> {
    let setup = MarksSetup::new(5).await?;
    setup.set_marks(&[("read", "bob", 3), ("delivered", "bob", 4)]).await?;
    ensure!(setup.take_publications().await?.len() == 3);
    let forget = async || setup.room.redis::<()>(redis::cmd("DEL").arg(keys::marks(&setup.room.room))).await;
    forget().await?;
    ensure!(setup.move_marks(&[("read", "bob", 3), ("delivered", "bob", 4)]).await? == [Some(3), Some(4)]);
    ensure!(setup.take_publications().await?.is_empty(), "nothing moved");
    forget().await?;
    let positions =
        setup.move_marks(&[("read", "bob", 1), ("read", "alice", 1), ("delivered", "bob", 5)]).await?;
    ensure!(positions == [Some(3), Some(1), Some(5)], "{positions:?}");
    ensure!(setup.take_publications().await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn room_receipts_are_half_second_apart_with_latest_marks() -> Result<()> {
    let setup = MarksSetup::new(9).await?;
    ensure!(
        setup.set_marks(&[("read", "alice", 1)]).await?.receipts_due_in.is_none(),
        "the first receipt must not be held"
    );
    let due_in = setup.set_marks(&[("read", "bob", 1), ("delivered", "bob", 1)]).await?.receipts_due_in;
    let held = due_in.context("held")?;
    ensure!(held <= Duration::from_millis(500), "{held:?}");
    setup.set_marks(&[("read", "bob", 2)]).await?;
    setup.set_marks(&[("read", "alice", 2), ("read", "bob", 3)]).await?;
    let frames: Vec<Value> = setup
        .take_publications()
        .await?
        .into_iter()
        .filter_map(|published| match published {
            Publication::Room(frame) => Some(frame),
            Publication::Bob { .. } => None,
        })
        .collect();
    let kind_and_marks = |frame: &Value| {
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
    let sent: Vec<_> = frames.iter().map(kind_and_marks).collect();
    let marks = |marks: &[(&str, u64)]| {
        marks.iter().map(|(user, seq)| ((*user).to_owned(), *seq)).collect::<Vec<_>>()
    };
    ensure!(
        sent == [
            ("receipt:read".to_owned(), marks(&[("alice", 1)])),
            ("receipt:read".to_owned(), marks(&[("alice", 2), ("bob", 3)])),
            ("receipt:delivered".to_owned(), marks(&[("bob", 1)])),
        ],
        "{sent:?}"
    );
    Ok(())
}

#[tokio::test]
async fn read_in_large_room_is_published_to_own_channel_only() -> Result<()> {
    let setup = MarksSetup::new(2).await?;
    let set_members = async |members: u64| {
        let room = keys::room(&setup.room.room);
        setup.room.redis::<()>(redis::cmd("HSET").arg(room).arg("members").arg(members)).await
    };
    set_members(101).await?;
    setup.set_marks(&[("read", "bob", 1), ("delivered", "bob", 1), ("read", "alice", 1)]).await?;
    let published = setup.take_publications().await?;
    ensure!(
        matches!(&published[..], [Publication::Bob { pushed: false, frame }] if frame["marks"][0]["seq"] == 1),
        "{published:?}"
    );
    set_members(100).await?;
    setup.set_marks(&[("read", "bob", 2)]).await?;
    ensure!(setup.take_publications().await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn removed_member_has_no_mark_and_returns_with_fresh_one() -> Result<()> {
    let setup = MarksSetup::new(5).await?;
    setup.set_marks(&[("read", "bob", 3)]).await?;
    ensure!(setup.set_marks(&[("read", "bob", 4)]).await?.receipts_due_in.is_some());
    // A held receipt is not published after the removal.
    setup.change_membership("member:removed", "removed").await?;
    let published = setup.take_publications().await?;
    ensure!(published.len() == 2, "{published:?}");
    ensure!(
        setup.move_marks(&[("read", "bob", 5), ("read", "alice", 1), ("read", "eve", 1)]).await?
            == [None, Some(1), None]
    );
    let published = setup.take_publications().await?;
    ensure!(
        matches!(&published[..], [Publication::Room(frame)] if frame["marks"][0]["user"] == "alice"),
        "{published:?}"
    );
    setup.change_membership("member:added", "member").await?;
    // The first read mark of a membership is its join, here at 7.
    ensure!(setup.move_marks(&[("read", "bob", 3), ("delivered", "bob", 3)]).await? == [Some(7), Some(3)]);
    Ok(())
}

#[tokio::test]
async fn marks_of_lost_epoch_block_no_later_marks() -> Result<()> {
    let setup = MarksSetup::new(3).await?;
    setup.set_marks(&[("read", "bob", 3)]).await?;
    let kept: Vec<String> =
        setup.room.redis(redis::cmd("HGETALL").arg(keys::marks(&setup.room.room))).await?;
    setup.stack.shards().restart_empty().await?;
    setup.room.send("4").await?;
    // Simulates a failover to a replica that still has these marks, although their records are lost.
    setup.stack.database().query("UPDATE members SET read_seq = 1").await?;
    setup.room.redis::<()>(redis::cmd("HSET").arg(keys::marks(&setup.room.room)).arg(&kept)).await?;
    ensure!(setup.move_marks(&[("read", "bob", 2)]).await? == [Some(2)]);
    Ok(())
}

#[tokio::test]
async fn hundreds_of_concurrent_marks_are_all_stored_and_answered() -> Result<()> {
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
    // A user who is not a member is refused, even among many marks of members.
    let outsider = receipts.mark(&room_id, &eve, Seq(1), false);
    let marks: Vec<_> = marks.collect();
    ensure!(outsider.await.is_err_and(|refusal| refusal.code == ErrorCode::NotFound));
    for mark in marks {
        ensure!(mark.await? == Ok(Seq(1)));
    }
    let moved = format!("SELECT count(*) FROM members WHERE room_id = '{room_id}' AND read_seq = 1");
    ensure!(stack.database().value(&moved).await? == "700");
    Ok(())
}

#[tokio::test]
async fn user_id_with_json_characters_is_published_unchanged() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 100).await?;
    room.send("1").await?;
    let odd = r#"o"d\d/é"#;
    let room_id = RoomId::parse(&stack.http("alice").new_room(&[odd]).await?)?;
    let message = Entry { room: &room_id, ..room.message("x", "x") };
    let accepted = room.log.append(&message).await?;
    let mark = ReadMark { user: UserId::parse(odd)?, seq: Seq(1), delivered: false };
    let (publish, mut published) = mpsc::unbounded_channel();
    let redis = tidings_shared::log::client(&stack.shards().url())?;
    let subscriber = Subscriber::start(room.log.map_watch().clone(), redis, move |event| {
        if let Event::Messages(messages) = event {
            messages.for_each(|(_, payload)| drop(publish.send(payload.to_vec())));
        }
    });
    subscriber.subscribe(keys::room(&room_id)).context("the queue is full")?.await?;
    let marked = room.log.mark(&room_id, &[mark]).await?;
    ensure!(accepted.seq == Seq(1) && marked.positions == [Some(Seq(1))]);
    let payload =
        tokio::time::timeout(room_log::WAIT_TIMEOUT, published.recv()).await?.context("published")?;
    let frame: Value = serde_json::from_slice(Record::parse(payload.into())?.json())?;
    ensure!(frame["marks"][0]["user"] == odd, "{frame}");
    let receipts = format!("SELECT user_id FROM members WHERE room_id = '{room_id}' AND read_seq = 1");
    let begun = std::time::Instant::now();
    while stack.database().query(&receipts).await? != [[odd]] {
        ensure!(begun.elapsed() < room_log::WAIT_TIMEOUT, "the mark was not stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
