//! Random changes in random batches: the writer's result must equal a simple model that applies them one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, WAIT_TIMEOUT, metric};
use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tidings_harness::{Stack, clock};
use tidings_shared::{
    ids::{ClientId, RoomId, UserId},
    log::Entry,
};

const ROOMS: usize = 5;
const ROUNDS: usize = 16;
const USERS: [&str; 4] = ["alice", "bob", "carol", "dora"];
const EMOJI: [&str; 4] = ["👍", "👎", "a/b", "é"];

/// The state that a message has by the rules of the protocol.
#[derive(Debug, Clone, Default)]
struct MessageModel {
    id: String,
    content: String,
    metadata: Value,
    edited_at_ms: Option<i64>,
    deleted: bool,
    last_seq: u64,
    /// By (emoji, user): the seq of the event that added the reaction.
    reactions: BTreeMap<(String, String), u64>,
    versions: Vec<(u64, String, String)>,
}

struct RoomModel {
    id: RoomId,
    head: u64,
    messages: BTreeMap<u64, MessageModel>,
}

/// The next event to append.
enum Step {
    Send { id: String, content: String },
    Change { kind: &'static str, target: u64, target_id: String, fields: Value },
}

fn random_step(random: &mut StdRng, room: &RoomModel, by: &str) -> Step {
    let roll = random.random_range(0..100);
    if room.head == 0 || roll < 12 {
        return Step::Send { id: uuid::Uuid::now_v7().to_string(), content: format!("text {roll}") };
    }
    // The target is usually a message and the target id usually correct, but not always.
    let messages: Vec<u64> = room.messages.keys().copied().collect();
    let target = match random.random_range(0..10) {
        0 => random.random_range(1..=room.head),
        // Recent messages get several changes in one batch.
        1..=6 => messages[messages.len() - 1 - random.random_range(0..messages.len().min(3))],
        _ => messages[random.random_range(0..messages.len())],
    };
    let named = if random.random_bool(0.05) { messages.first().copied().unwrap_or(1) } else { target };
    let target_id = room.messages.get(&named).map_or_else(|| uuid::Uuid::nil().to_string(), |m| m.id.clone());
    // An emoji with which the user already reacted to the target, to add it again or to remove it.
    let mine = room.messages.get(&target).and_then(|message| {
        message.reactions.keys().filter(|(_, user)| user == by).map(|(emoji, _)| emoji.clone()).next()
    });
    let any = EMOJI[random.random_range(0..EMOJI.len())].to_owned();
    let emoji = json!({"emoji": if random.random_bool(0.5) { mine.unwrap_or(any) } else { any }});
    let (kind, fields) = match roll {
        12..=29 => ("message:edited", json!({"content": format!("edit {roll}")})),
        30..=36 => ("message:edited", json!({"content": format!("edit {roll}"), "metadata": {"n": roll}})),
        37..=39 => ("message:deleted", json!({})),
        40..=70 => ("reaction:added", emoji),
        _ => ("reaction:removed", emoji),
    };
    Step::Change { kind, target, target_id, fields }
}

impl RoomModel {
    /// Applies the event that gets the next seq.
    fn apply(&mut self, step: &Step, by: &str, at_ms: i64) {
        self.head += 1;
        let seq = self.head;
        let (kind, target, target_id, fields) = match step {
            Step::Send { id, content } => {
                let versions = vec![(seq, content.clone(), by.to_owned())];
                let (id, content) = (id.clone(), content.clone());
                let message =
                    MessageModel { id, content, last_seq: seq, versions, ..MessageModel::default() };
                self.messages.insert(seq, message);
                return;
            }
            Step::Change { kind, target, target_id, fields } => (*kind, target, target_id, fields),
        };
        let Some(message) = self.messages.get_mut(target) else { return };
        if message.id != *target_id || message.deleted {
            return;
        }
        let pair = (fields["emoji"].as_str().unwrap_or_default().to_owned(), by.to_owned());
        match kind {
            "message:edited" => {
                message.content = fields["content"].as_str().unwrap_or_default().to_owned();
                if fields["metadata"].is_object() {
                    message.metadata = fields["metadata"].clone();
                }
                message.edited_at_ms = Some(at_ms);
                message.versions.push((seq, message.content.clone(), by.to_owned()));
            }
            "message:deleted" => {
                message.deleted = true;
                (message.content, message.metadata) = (String::new(), Value::Null);
                message.reactions.clear();
            }
            "reaction:added" => {
                if message.reactions.contains_key(&pair) {
                    return;
                }
                message.reactions.insert(pair, seq);
            }
            _ => {
                if message.reactions.remove(&pair).is_none() {
                    return;
                }
            }
        }
        message.last_seq = seq;
    }

    /// The expected rows of the database, as text.
    fn expected_rows(&self) -> BTreeSet<Vec<String>> {
        let mut rows = BTreeSet::new();
        for (seq, message) in &self.messages {
            let seq = seq.to_string();
            let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
            let edited_at = message.edited_at_ms.map_or_else(String::new, |ms| ms.to_string());
            rows.insert(vec![
                "message".into(),
                seq.clone(),
                message.content.clone(),
                text(&message.metadata),
                format!("{} {} {edited_at}", message.last_seq, message.deleted),
            ]);
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for ((emoji, user), added_seq) in &message.reactions {
                *counts.entry(emoji).or_default() += 1;
                rows.insert(vec![
                    "reaction".into(),
                    seq.clone(),
                    emoji.clone(),
                    user.clone(),
                    added_seq.to_string(),
                ]);
            }
            for (emoji, count) in counts {
                rows.insert(vec![
                    "count".into(),
                    seq.clone(),
                    emoji.into(),
                    String::new(),
                    count.to_string(),
                ]);
            }
            // A message that was never changed has no rows in `message_versions`.
            if message.versions.len() > 1 || message.deleted {
                for (version, content, by) in &message.versions {
                    let version = version.to_string();
                    rows.insert(vec!["version".into(), seq.clone(), content.clone(), by.clone(), version]);
                }
            }
        }
        rows
    }

    /// The reactions as history shows them to a user without own reactions.
    fn reactions(&self, seq: u64) -> Value {
        let mut by_emoji: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
        for ((emoji, user), added_seq) in &self.messages[&seq].reactions {
            by_emoji.entry(emoji).or_default().push((*added_seq, user));
        }
        let mut lists: Vec<(&str, Vec<(u64, &str)>)> = by_emoji.into_iter().collect();
        lists.iter_mut().for_each(|(_, users)| users.sort_unstable());
        lists.sort_by_key(|(_, users)| users[0].0);
        let shown = lists.iter().map(|(emoji, users)| {
            let names: Vec<&str> = users.iter().map(|(_, user)| *user).collect();
            json!({"emoji": emoji, "count": names.len(), "mine": false, "users": names})
        });
        shown.collect()
    }
}

async fn stored_rows(stack: &Stack, room: &RoomId) -> Result<BTreeSet<Vec<String>>> {
    let sql = format!(
        "SELECT 'message', seq, content, COALESCE(metadata::text, ''), last_seq || CASE WHEN deleted THEN ' true ' \
           ELSE ' false ' END || COALESCE((extract(epoch FROM edited_at) * 1000)::bigint::text, '') \
         FROM messages WHERE room_id = '{room}' \
         UNION ALL SELECT 'reaction', seq, emoji, user_id, event_seq::text FROM reactions WHERE room_id = '{room}' \
         UNION ALL SELECT 'count', seq, emoji, '', count::text FROM reaction_counts WHERE room_id = '{room}' \
         UNION ALL SELECT 'version', seq, content, by, version::text FROM message_versions WHERE room_id = '{room}'"
    );
    Ok(stack.database().query(&sql).await?.into_iter().collect())
}

async fn until_stored(stack: &Stack, room: &RoomModel) -> Result<()> {
    let (begun, id) = (Instant::now(), &room.id);
    let head = format!("SELECT head_seq FROM rooms WHERE id = '{id}'");
    while stack.database().value(&head).await? != room.head.to_string() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{id} is not stored up to {}", room.head);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn random_batched_changes_match_sequential_model() -> Result<()> {
    let seed = u64::try_from(clock::now().as_millis())?;
    let stack = Stack::builder().gateways(0).start().await?;
    let owner = stack.http("olga");
    let log = RoomLog::new(&stack, 10_000).await?.log;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let id = RoomId::parse(&owner.new_room(&USERS).await?)?;
        rooms.push(RoomModel { id, head: 0, messages: BTreeMap::new() });
    }
    let mut random = StdRng::seed_from_u64(seed);
    let (mut records, mut batches) = (0.0, 0.0);
    for round in 0..ROUNDS {
        // Events that are appended while the writer is paused become one batch; otherwise the number of batches varies.
        let in_one_batch = round > 0 && random.random_bool(0.6);
        let before = written_counts(&stack).await?;
        if in_one_batch {
            stack.persistence(0).pause()?;
        }
        for _ in 0..random.random_range(1..60) {
            let room = random.random_range(0..rooms.len());
            let by = USERS[random.random_range(0..USERS.len())];
            let step = random_step(&mut random, &rooms[room], by);
            let mut at_ms = append_step(&log, &rooms[room], by, &step).await;
            if in_one_batch && at_ms.is_err() {
                // On a busy machine the log reconnects. Then it needs an epoch from persistence before it can append.
                stack.persistence(0).resume()?;
                at_ms = append_step(&log, &rooms[room], by, &step).await;
                stack.persistence(0).pause()?;
            }
            let at_ms = at_ms?;
            rooms[room].apply(&step, by, at_ms);
        }
        if in_one_batch {
            stack.persistence(0).resume()?;
        }
        for room in &rooms {
            until_stored(&stack, room).await?;
            let (stored, expected) = (stored_rows(&stack, &room.id).await?, room.expected_rows());
            let missing: Vec<_> = expected.difference(&stored).collect();
            let wrong: Vec<_> = stored.difference(&expected).collect();
            ensure!(
                missing.is_empty() && wrong.is_empty(),
                "seed {seed}, round {round}: missing {missing:?}, wrong {wrong:?}"
            );
        }
        if in_one_batch {
            let after = written_counts(&stack).await?;
            records += after.0 - before.0;
            batches += after.1 - before.1;
        }
    }
    for room in &rooms {
        let page = owner.messages(room.id.as_str(), "limit=200").await?.expect(200).body;
        for message in page["messages"].as_array().context("messages")? {
            let seq = message["seq"].as_u64().context("seq")?;
            ensure!(message["reactions"] == room.reactions(seq), "seed {seed}: {message}");
        }
    }
    ensure!(stack.database().value("SELECT count(*) FROM dead_letters").await? == "0");
    ensure!(
        records > 4.0 * batches,
        "seed {seed}: {records} records in {batches} batches: the batches are too small"
    );
    Ok(())
}

/// The numbers of records and batches written so far.
async fn written_counts(stack: &Stack) -> Result<(f64, f64)> {
    let records = metric(stack, 0, "tidings_persistence_batch_records_sum").await?;
    Ok((records, metric(stack, 0, "tidings_persistence_batch_records_count").await?))
}

async fn append_step(log: &tidings_shared::log::Log, room: &RoomModel, by: &str, step: &Step) -> Result<i64> {
    let (by, client_id) = (UserId::parse(by)?, ClientId::parse(&clock::client_id())?);
    let entry = |kind: &'static str, body: Value| Entry {
        sender: Some(&by),
        client_id: Some(client_id.clone()),
        first_attempt: true,
        ..Entry::new(&room.id, kind, body.to_string())
    };
    let entry = match step {
        Step::Send { id, content } => {
            let body = json!({"id": id, "client_id": client_id.as_str(), "sender": {"id": by.as_str()},
                "kind": "text", "content": content});
            Entry { id: Some(id.clone()), is_change: false, ..entry("message:new", body) }
        }
        Step::Change { kind, target, target_id, fields } => {
            let mut body = json!({"target": target, "target_id": target_id, "by": by.as_str()});
            if let (Some(body), Some(fields)) = (body.as_object_mut(), fields.as_object()) {
                body.extend(fields.clone());
            }
            Entry { drops_tail: *kind == "message:deleted", ..entry(kind, body) }
        }
    };
    let accepted = log.append(&entry).await?;
    ensure!(accepted.seq.0 == room.head + 1, "{accepted:?} after {}", room.head);
    Ok(accepted.at_ms)
}
