//! Random rooms, roles, private messages, changes and membership changes, compared with a simple model: no read path
//! shows a user anything that the model forbids, and each path shows all that the model allows. Long because all read
//! paths are checked in one world, against the model and each other.

mod model;
mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack, clock};

use model::{ModelEvent, RoomModel};
use shown::{ReadEvents, RoomReader};

const USERS: [&str; 5] = ["ann", "ben", "cat", "dan", "eve"];
const ROLES: [&str; 4] = ["admin", "member", "vip", "guest"];
const OWNER: &str = "ann";
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that receives nothing for this long has received everything.
const QUIET_PERIOD: Duration = Duration::from_millis(150);

struct RandomWorld {
    stack: Stack,
    rng: StdRng,
    rooms: BTreeMap<String, RoomModel>,
    /// By room and user: the listening connection, and the seq after which it listens.
    listening: BTreeMap<(String, String), (Client, u64)>,
    texts: u64,
    checked: CheckCounts,
}

/// How much was checked. A run that checked nothing proves nothing.
#[derive(Debug, Default)]
struct CheckCounts {
    /// Log events that arrived live.
    live: usize,
    /// Log events replayed by WebSocket, and by poll.
    replayed: [usize; 2],
    /// Gaps reported by WebSocket, and by poll, and then filled.
    gaps: [usize; 2],
    /// Hidden texts whose absence was checked.
    hidden: usize,
}

impl CheckCounts {
    fn add(&mut self, way: usize, shown: &ReadEvents) {
        self.replayed[way] += shown.replayed;
        self.gaps[way] += usize::from(shown.has_gap);
    }

    /// Whether at least half as much was checked as random worlds with this many steps usually reach. Replays do not
    /// grow with the log, because they begin after the last delete.
    fn is_enough(&self, steps: usize) -> bool {
        let is_enough = |way: usize| self.replayed[way] > steps.min(150) && self.gaps[way] >= 2;
        self.live > steps && self.hidden > steps / 4 && is_enough(0) && is_enough(1)
    }
}

fn seqs(list: &Value, kind: Option<&str>) -> Vec<u64> {
    let wanted = |one: &&Value| kind.is_none_or(|kind| one["type"] == kind);
    list.as_array().into_iter().flatten().filter(wanted).filter_map(|one| one["seq"].as_u64()).collect()
}

impl RandomWorld {
    async fn new(seed: u64) -> Result<Self> {
        let mut builder = Stack::builder().gateways(2);
        for setting in ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST"] {
            builder = builder.gateway_env(setting, 100_000).persistence_env(setting, 100_000);
        }
        let (stack, rng) = (builder.start().await?, StdRng::seed_from_u64(seed));
        let mut world = Self {
            stack,
            rng,
            rooms: BTreeMap::new(),
            listening: BTreeMap::new(),
            texts: 0,
            checked: CheckCounts::default(),
        };
        for _ in 0..2 {
            let members = [("ben", "member"), ("cat", "vip"), ("dan", "guest")];
            let list: Vec<_> =
                members.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
            let body = json!({"kind": "private", "members": list});
            let room = world.http(OWNER).post("/rooms", body).await?.expect(201).body;
            let room = room["room"].as_str().unwrap().to_owned();
            let known = RoomModel::with_members(&[&[(OWNER, "owner")], &members[..]].concat());
            world.rooms.insert(room.clone(), known);
            for user in USERS {
                world.listen(&room, user).await?;
            }
        }
        Ok(world)
    }

    fn http(&self, user: &str) -> Http {
        self.stack.http(user)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.rng).unwrap()
    }

    fn next_text(&mut self) -> String {
        self.texts += 1;
        format!("text{}of", self.texts)
    }

    /// Joins the room at its head on a new connection, if the user is a member.
    async fn listen(&mut self, room: &str, user: &str) -> Result<()> {
        if self.rooms[room].role(user).is_none() {
            return Ok(());
        }
        let gateway = self.rng.random_range(0..2);
        let client = self.stack.connect_at(gateway, user).await?;
        let from = client.join_and_catch_up(room).await?.seq;
        ensure!(from == self.rooms[room].head(), "joined at {from}");
        self.listening.insert((room.to_owned(), user.to_owned()), (client, from));
        Ok(())
    }

    /// Performs one random action in one random room.
    async fn random_step(&mut self) -> Result<()> {
        let ids: Vec<String> = self.rooms.keys().cloned().collect();
        let room = ids.choose(&mut self.rng).unwrap().clone();
        match self.rng.random_range(0..20) {
            0..=8 => self.send(&room).await,
            9..=14 => self.change_message(&room).await,
            15..=17 => self.change_membership(&room).await,
            _ => self.mark_read(&room).await,
        }
    }

    async fn send(&mut self, room: &str) -> Result<()> {
        let user = self.pick(&USERS);
        let text = self.next_text();
        let is_private = self.rng.random_bool(0.6);
        let users: BTreeSet<String> =
            (0..self.rng.random_range(0..3)).map(|_| self.pick(&USERS).to_owned()).collect();
        let roles: BTreeSet<String> =
            (0..self.rng.random_range(0..2)).map(|_| self.pick(&ROLES).to_owned()).collect();
        let is_private = is_private && !(users.is_empty() && roles.is_empty());
        let mut body = json!({"client_id": clock::client_id(), "content": text});
        if is_private {
            body["visible_to"] = json!({"users": users, "roles": roles});
        }
        let answer = self.http(user).post(&format!("/rooms/{room}/messages"), body).await?;
        let role = self.rooms[room].role(user).map(ToOwned::to_owned);
        let expected = role.as_deref().map_or(404, |role| if role == "guest" { 403 } else { 201 });
        ensure!(answer.status == expected, "{user} as {role:?}: {}", answer.body);
        if expected == 201 {
            let private = is_private.then(|| (user.to_owned(), users, roles));
            let event = ModelEvent { kind: "message:new", by: user.into(), private, target: None, text };
            self.rooms.get_mut(room).unwrap().push(answer.body["seq"].as_u64().unwrap(), event);
        }
        Ok(())
    }

    async fn change_message(&mut self, room: &str) -> Result<()> {
        let user = self.pick(&USERS);
        let known = &self.rooms[room];
        let messages: Vec<u64> = (1..=known.head()).filter(|seq| known.is_message(*seq)).collect();
        let Some(target) = messages.choose(&mut self.rng).copied() else { return Ok(()) };
        let text = self.next_text();
        let message = format!("/rooms/{room}/messages/{target}");
        let reaction = format!("{message}/reactions/x");
        let (kind, method, path, body) = match self.rng.random_range(0..6) {
            0 => ("message:deleted", Method::DELETE, message, None),
            1 => ("reaction:removed", Method::DELETE, reaction, None),
            2 | 3 => ("reaction:added", Method::PUT, reaction, None),
            _ => ("message:edited", Method::PATCH, message, Some(json!({"content": text}))),
        };
        let answer = self.http(user).request(method, &path, body).await?;
        let known = &self.rooms[room];
        let of = known.log[target as usize - 1].clone();
        let role = known.role(user);
        let is_own = of.by == user;
        let may = match role {
            None => 404,
            // A guest may change nothing, not even a message that the guest may see.
            Some("guest") => 403,
            Some(role) if !known.may_see(user, role, target) => 404,
            Some("owner" | "admin") => 200,
            Some(_) if kind.starts_with("reaction") || is_own => 200,
            Some(_) => 403,
        };
        let expected =
            if may == 200 && known.is_deleted(target) && kind != "message:deleted" { 409 } else { may };
        ensure!(answer.status == expected, "{user} as {role:?} {kind} {target}: {}", answer.body);
        if expected == 200 {
            let text = if kind == "message:edited" { text } else { String::new() };
            let event = ModelEvent { kind, by: user.into(), private: of.private, target: Some(target), text };
            self.rooms.get_mut(room).unwrap().push(answer.body["seq"].as_u64().unwrap(), event);
        }
        Ok(())
    }

    async fn change_membership(&mut self, room: &str) -> Result<()> {
        let (user, role) = (self.pick(&USERS[1..]), self.pick(&ROLES));
        let path = format!("/rooms/{room}/members/{user}");
        let before = self.rooms[room].role(user).map(ToOwned::to_owned);
        let removes = before.is_some() && self.rng.random_bool(0.5);
        let (method, body) =
            if removes { (Method::DELETE, None) } else { (Method::PUT, Some(json!({"role": role}))) };
        let answer = self.http(OWNER).request(method, &path, body).await?.expect(200).body;
        if !removes && before.as_deref() == Some(role) {
            return Ok(());
        }
        let kind = match (&before, removes) {
            (_, true) => "member:removed",
            (Some(_), _) => "member:changed",
            (None, _) => "member:added",
        };
        let seq = answer["seq"].as_u64().unwrap();
        let known = self.rooms.get_mut(room).unwrap();
        known.push(
            seq,
            ModelEvent { kind, by: OWNER.into(), private: None, target: None, text: String::new() },
        );
        known.set_role(user, seq, (!removes).then_some(role));
        if kind == "member:added" {
            self.check_live(room, user, seq).await?;
            self.listen(room, user).await?;
        }
        Ok(())
    }

    async fn mark_read(&mut self, room: &str) -> Result<()> {
        let user = self.pick(&USERS);
        let seq = self.rng.random_range(0..=self.rooms[room].head());
        let status = self.http(user).read(room, seq).await?.status;
        let known = self.rooms.get_mut(room).unwrap();
        ensure!(status == if known.role(user).is_some() { 200 } else { 404 }, "{user}: {status}");
        if status == 200 {
            let mark = known.read.entry(user.to_owned()).or_default();
            *mark = seq.max(*mark);
        }
        Ok(())
    }

    /// Checks that a listener received live exactly what the model allows up to `upto`, and removes the listener.
    async fn check_live(&mut self, room: &str, user: &str, upto: u64) -> Result<()> {
        let Some((client, from)) = self.listening.remove(&(room.to_owned(), user.to_owned())) else {
            return Ok(());
        };
        let known = &self.rooms[room];
        let expected = known.live_seqs(user, from, upto);
        let mut received = Vec::new();
        loop {
            let is_all = received.last() >= expected.last();
            let timeout = if is_all { QUIET_PERIOD } else { WAIT_TIMEOUT };
            let frame = match client.next_event(timeout).await {
                // Only silence proves that nothing else arrives. A closed connection does not.
                Err(ClientError::Silent(_)) if is_all => break,
                frame => frame.context("a listener did not receive everything")?,
            };
            ensure!(!matches!(frame, ServerFrame::Gap(_)), "{user} received a gap");
            let Some((of, seq)) = frame.log_position() else { continue };
            ensure!(of == room, "a frame of {of}");
            received.push(seq);
            let shown = format!("{frame:?}");
            let others =
                (1..).zip(&known.log).filter(|(other, event)| *other != seq && !event.text.is_empty());
            for (other, event) in others {
                ensure!(
                    !shown.contains(&event.text),
                    "{user} received at {seq} the text of {other}: {shown}"
                );
            }
        }
        ensure!(received == expected, "{user} from {from}: received {received:?}, expected {expected:?}");
        self.checked.live += received.len();
        Ok(())
    }

    /// Checks all read paths as one user.
    async fn check_reads(&mut self, room: &str, user: &str) -> Result<()> {
        let http = self.http(user);
        let known = &self.rooms[room];
        if known.role(user).is_none() {
            for path in ["", "/messages", "/events?after=0", "/members", "/receipts", "/messages/1"] {
                let answer = http.get(&format!("/rooms/{room}{path}")).await?;
                ensure!(answer.status == 404, "{user} {path}: {}", answer.body);
            }
            return Ok(());
        }
        let (visible, messages) = (known.visible_seqs(user), known.visible_messages(user));
        let mut given = Vec::new();
        let page = http.messages(room, "limit=200").await?.expect(200).body;
        ensure!(seqs(&page["messages"], None) == messages, "{user} history: {page}");
        given.push(page);
        let page = http.events(room, "after=0&limit=200").await?.expect(200).body;
        ensure!(seqs(&page["events"], None) == visible, "{user} events {visible:?}: {page}");
        ensure!(page["next"]["seq"] == known.head(), "{page}");
        given.push(page);
        for seq in 1..=known.head() {
            if known.is_message(seq) {
                let answer = http.get(&format!("/rooms/{room}/messages/{seq}")).await?;
                ensure!(answer.status == if messages.contains(&seq) { 200 } else { 404 }, "{user} {seq}");
                given.push(answer.body);
            }
        }
        let mine = http.my_rooms("").await?.expect(200).body;
        let entry =
            mine["rooms"].as_array().unwrap().iter().find(|one| one["room"] == room).context("not mine")?;
        ensure!(entry["last_message"]["seq"].as_u64() == messages.last().copied(), "{user}: {entry}");
        ensure!(
            entry["unread"] == known.unread_count(user).min(100),
            "{user} unread {}: {entry}",
            known.unread_count(user)
        );
        given.push(mine);
        let found = http.get(&format!("/search?q=text&room={room}&limit=200")).await?.expect(200).body;
        let hits: BTreeSet<u64> = found["results"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|hit| hit["message"]["seq"].as_u64())
            .collect();
        ensure!(hits.iter().all(|seq| messages.contains(seq) && !known.is_deleted(*seq)), "{user}: {found}");
        given.push(found);
        let mut given: Vec<String> = given.iter().map(Value::to_string).collect();
        let mut checked = std::mem::take(&mut self.checked);
        // Reads from the beginning of the log, and from the last delete, where the tail begins.
        for from in [0, known.last_delete()] {
            let reader = RoomReader { stack: &self.stack, user, room, from };
            for (way, shown) in
                [reader.read_by_socket(1).await?, reader.read_by_poll(0).await?].into_iter().enumerate()
            {
                let may = visible.iter().copied().filter(|seq| *seq > from);
                ensure!(
                    may.eq(shown.seqs.iter().copied()),
                    "{user} from {from}, may {visible:?}: {:?}",
                    shown.seqs
                );
                checked.add(way, &shown);
                given.push(shown.text);
            }
        }
        for text in known.hidden_texts(user) {
            let shown = given.iter().find(|given| given.contains(text));
            ensure!(shown.is_none(), "{user} was shown {text}: {shown:?}");
            checked.hidden += 1;
        }
        self.checked = checked;
        Ok(())
    }

    /// Checks that search, once the index has caught up, finds exactly the visible messages.
    async fn check_search(&self, room: &str, user: &str) -> Result<()> {
        let known = &self.rooms[room];
        let expected: BTreeSet<u64> =
            known.visible_messages(user).into_iter().filter(|seq| !known.is_deleted(*seq)).collect();
        let deadline = std::time::Instant::now() + WAIT_TIMEOUT;
        loop {
            let path = format!("/search?q=text&room={room}&limit=200");
            let found = self.http(user).get(&path).await?.expect(200).body;
            let hits: BTreeSet<u64> = found["results"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|hit| hit["message"]["seq"].as_u64())
                .collect();
            if hits == expected {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                bail!("{user} finds {hits:?}, may find {expected:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn check_export(&self, user: &str) -> Result<()> {
        let url = format!("{}/v1/me/export", self.stack.persistence(0).url());
        let client = tidings_harness::http::client();
        let answer = client.get(url).bearer_auth(self.stack.token(user)).send().await?;
        let text = answer.error_for_status()?.text().await?;
        ensure!(text.lines().last().is_some_and(|line| line.contains("\"end\"")), "{user}: cut off: {text}");
        for room in self.rooms.values() {
            for event in room.log.iter().filter(|event| !event.text.is_empty()) {
                // Edits of the user's own message by others belong to the export too.
                let of = event.target.map_or(event, |target| &room.log[target as usize - 1]);
                let is_exported = event.by == user || of.by == user;
                ensure!(is_exported || !text.contains(&event.text), "{user} exports {event:?}");
            }
            let kept = (1..).zip(&room.log).filter(|(seq, event)| {
                event.kind == "message:new" && event.by == user && !room.is_deleted(*seq)
            });
            let edited = |seq: u64| {
                room.log.iter().any(|event| event.kind == "message:edited" && event.target == Some(seq))
            };
            for (_, event) in kept.filter(|(seq, _)| !edited(*seq)) {
                ensure!(text.contains(&event.text), "{user} misses {event:?}");
            }
        }
        Ok(())
    }
}

async fn run_random_world(seed: u64, steps: usize) -> Result<()> {
    let mut world = RandomWorld::new(seed).await?;
    let rooms: Vec<String> = world.rooms.keys().cloned().collect();
    for step in 0..steps {
        world.random_step().await.with_context(|| format!("step {step}"))?;
        if step % 10 == 9 {
            let (room, user) = (rooms[step / 10 % rooms.len()].clone(), world.pick(&USERS));
            world.check_reads(&room, user).await.with_context(|| format!("reads after step {step}"))?;
        }
    }
    for room in &rooms {
        let head = world.rooms[room].head();
        for user in USERS {
            world.check_live(room, user, head).await.with_context(|| format!("live, {room}"))?;
            world.check_reads(room, user).await?;
            if world.rooms[room].role(user).is_some() {
                world.check_search(room, user).await?;
            }
            world.check_export(user).await?;
        }
    }
    println!("seed {seed}: {:?}", world.checked);
    ensure!(world.checked.is_enough(steps), "too little was checked: {:?}", world.checked);
    Ok(())
}

// Covers: member:added, member:changed, member:removed, message:edited, message:deleted, reaction:added, reaction:removed.
// Covers: GET /search, GET /me/export, GET /rooms/{room}/events, GET /rooms/{room}/messages, GET /me/rooms.
// Covers: PUT /rooms/{room}/members/{user}, DELETE /rooms/{room}/members/{user}.
#[tokio::test]
async fn every_read_path_shows_only_what_model_allows() -> Result<()> {
    for seed in [1, 2] {
        run_random_world(seed, 150).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// A user changed a message as admin, and is a guest now. The user sees neither the message nor the change.
#[tokio::test]
async fn demoted_user_sees_no_own_change_of_hidden_message() -> Result<()> {
    let stack = Stack::builder().gateways(1).start().await?;
    let owner = stack.http("ann");
    let room = owner.new_room(&["ben"]).await?;
    owner.put_member(&room, "ben", "admin").await?.expect(200);
    let hidden =
        json!({"client_id": clock::client_id(), "content": "hidden", "visible_to": {"roles": ["admin"]}});
    let sent = owner.post(&format!("/rooms/{room}/messages"), hidden).await?.expect(201).body;
    let message = format!("/rooms/{room}/messages/{}", sent["seq"]);
    let ben = stack.http("ben");
    ben.request(Method::PATCH, &message, Some(json!({"content": "edited"}))).await?.expect(200);
    ben.request(Method::PUT, &format!("{message}/reactions/x"), None).await?.expect(200);
    let last =
        owner.put_member(&room, "ben", "guest").await?.expect(200).body["seq"].as_u64().context("no seq")?;
    let visible = vec![1, last];
    let page = ben.events(&room, "after=0").await?.expect(200).body;
    ensure!(seqs(&page["events"], None) == visible, "{page}");
    let reader = RoomReader { stack: &stack, user: "ben", room: &room, from: 0 };
    for shown in [reader.read_by_socket(0).await?, reader.read_by_poll(0).await?] {
        ensure!(shown.seqs == visible, "{:?}: {}", shown.seqs, shown.text);
    }
    Ok(())
}

/// More random rooms; `TIDINGS_SEEDS=100 ./dev test --long visibility` sets the number.
#[tokio::test]
#[ignore = "long: twenty more random rooms"]
async fn many_random_rooms_show_only_what_model_allows() -> Result<()> {
    let seeds: u64 = std::env::var("TIDINGS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
    for seed in 100..100 + seeds {
        run_random_world(seed, 300).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}
