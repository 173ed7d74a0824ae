//! Users who send all the time: to all or to some members, with `stored` or `accepted`; sometimes they edit, react and
//! delete. Each is in all rooms, so that all views of all rooms can be compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::misbehaving::GHOST;
use super::{Plan, World};
use crate::frames::Cursor;
use crate::history::{Changes, History};
use crate::http::Http;
use crate::listener::{Begin, Listener, Nodes, SendOptions, TOKEN_TTL_S, lock};
use crate::play::history::{create_room, head};
use crate::recorder::Interner;
use crate::token::Token;

mod changing;

use changing::Intent;

const ROOMS: usize = 5;
/// Number of users; each is in every room.
const PEOPLE: usize = 12;
/// How many of them only listen.
const SILENT: usize = 2;
const FLOWING_PATIENCE: Duration = Duration::from_secs(30);
/// Unanswered messages of one user.
const MAX_UNANSWERED: usize = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// A user with a connection.
struct Person {
    name: String,
    listener: Listener,
}

/// See the module.
pub(super) struct Load {
    people: Vec<Arc<Person>>,
    rooms: Vec<String>,
    speaking: JoinSet<Result<()>>,
    over: Arc<AtomicBool>,
    stored: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    unsound: Arc<std::sync::Mutex<Vec<String>>>,
    changes: Changes,
    nodes: Arc<Nodes>,
}

impl Load {
    pub async fn start(world: &World, plan: &Plan, history: History) -> Result<Load> {
        let nodes = Arc::new(world.nodes());
        let names: Vec<String> = (0..PEOPLE).map(|number| format!("p{number}")).collect();
        let http = http_of(&nodes, &names[0]);
        let mut rooms: Vec<(String, Cursor)> = Vec::with_capacity(ROOMS);
        for room in 0..ROOMS {
            let others = names[1..].iter().map(String::as_str).chain([GHOST]);
            let members = others.map(|name| json!({ "user": name, "role": "member" })).collect();
            rooms.push(create_room(&http, &format!("room {room}"), members).await?);
        }
        let interner = Arc::new(Interner::default());
        let mut people = Vec::with_capacity(PEOPLE);
        for (number, name) in names.iter().enumerate() {
            let listener = Listener::recorded(name, Arc::clone(&nodes), number, history.clone());
            for (room, head) in &rooms {
                listener.join(room, Begin::At(head.clone()), Arc::clone(&interner));
            }
            listener.online();
            people.push(Arc::new(Person { name: name.clone(), listener }));
        }
        let rooms: Vec<String> = rooms.into_iter().map(|(room, _)| room).collect();
        let mut load = Load {
            people,
            rooms,
            speaking: JoinSet::new(),
            over: Arc::default(),
            stored: Arc::default(),
            failed: Arc::default(),
            unsound: Arc::default(),
            changes: Changes::default(),
            nodes,
        };
        load.speak(plan);
        Ok(load)
    }

    fn speak(&mut self, plan: &Plan) {
        let speakers = PEOPLE - SILENT;
        let pace = Duration::from_secs_f64(speakers as f64 / f64::from(plan.rate.max(1)));
        for (number, person) in self.people.iter().take(speakers).enumerate() {
            let speaker = Speaker {
                person: Arc::clone(person),
                others: self.people.iter().map(|person| person.name.clone()).collect(),
                rooms: self.rooms.clone(),
                over: Arc::clone(&self.over),
                stored: Arc::clone(&self.stored),
                failed: Arc::clone(&self.failed),
                unsound: Arc::clone(&self.unsound),
                changes: self.changes.clone(),
                nodes: Arc::clone(&self.nodes),
            };
            let rng = StdRng::seed_from_u64(plan.seed.wrapping_mul(1000) + number as u64);
            self.speaking.spawn(speaker.speak(pace, rng));
        }
    }

    /// The rooms.
    pub fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// Waits until messages of all users arrive.
    pub async fn until_flowing(&self) -> Result<()> {
        let begun = Instant::now();
        while self.stored.load(Ordering::Relaxed) < 100 {
            ensure!(begun.elapsed() < FLOWING_PATIENCE, "nothing flows: {}", self.state());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Stops sending, and waits for the answers to sent messages.
    pub async fn finish(&mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(spoke) = self.speaking.join_next().await {
            spoke.context("a speaker")??;
        }
        Ok(())
    }

    /// Sends a last message to all in each room, and waits until every listener has it and nothing comes after it.
    /// Positions alone do not show whether a listener is complete, because not everyone may see the last event.
    pub async fn until_caught_up(&self, world: &World) -> Result<()> {
        let speaker = &self.people[0].listener;
        loop {
            for room in &self.rooms {
                let sent = speaker.send_as(room, "the end", SendOptions::default()).await;
                let end = sent.map_err(|why| anyhow!("the end could not be sent: {why}"))?.seq;
                while self.people.iter().any(|person| !person.listener.is_at(room, end)) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if self.behind_the_end(world).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Counts records after the last message of their rooms, and voids that are not published yet.
    async fn behind_the_end(&self, world: &World) -> Result<u64> {
        let behind = "SELECT (SELECT sum(head_seq - (SELECT max(seq) FROM messages m \
              WHERE m.room_id = r.id AND content = 'the end')) FROM rooms r) \
            + (SELECT count(*) FROM events WHERE type = 'void' AND void_told = false)";
        let stored: u64 = world.stack.database().value(behind).await?.parse().context("how many")?;
        Ok(stored + self.backlog(world).await?)
    }

    /// How many records in Redis are not stored yet.
    async fn backlog(&self, world: &World) -> Result<u64> {
        let mut ahead = 0;
        for room in &self.rooms {
            let page = http_of(&self.nodes, &self.people[0].name);
            let stored = head(&page, room).await?;
            let partition: u64 = world
                .stack
                .database()
                .value(&format!("SELECT partition FROM rooms WHERE id = '{room}'"))
                .await?
                .parse()?;
            let key = format!("{{{partition:02}}}:room:{room}");
            let ahead_at: Option<u64> = world.redis().command(redis::cmd("HGET").arg(key).arg("seq")).await?;
            ahead += ahead_at.unwrap_or_default().saturating_sub(stored);
        }
        Ok(ahead)
    }

    /// Errors that clients noticed themselves, besides the rules of the history.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = lock(&self.failed).clone();
        for person in &self.people {
            let name = &person.name;
            broken.extend(person.listener.failed().map(|why| format!("{name} gave up: {why}")));
            broken.extend(person.listener.broken_rules().into_iter().map(|what| format!("{name}: {what}")));
        }
        broken
    }

    /// Answers by which services reported an internal error.
    pub fn unsound(&self) -> Vec<String> {
        let mut unsound = lock(&self.unsound).clone();
        for person in &self.people {
            let told = person.listener.unsound().into_iter();
            unsound.extend(told.map(|what| format!("{}: {what}", person.name)));
        }
        unsound
    }

    /// The requested changes of messages.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// How many messages have the answer that their senders wanted.
    pub fn answered(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// The state of all listeners, in words.
    pub fn state(&self) -> String {
        let state = |person: &Arc<Person>| {
            let at: Vec<String> = self
                .rooms
                .iter()
                .map(|room| {
                    person
                        .listener
                        .cursor(room)
                        .map_or("-".to_owned(), |cursor| format!("{}:{}", cursor.epoch, cursor.seq))
                })
                .collect();
            format!(
                "{} {} {}",
                person.name,
                if person.listener.is_connected() { "on" } else { "off" },
                at.join(" ")
            )
        };
        self.people.iter().map(state).collect::<Vec<_>>().join("; ")
    }
}

#[derive(Clone)]
struct Speaker {
    person: Arc<Person>,
    others: Vec<String>,
    rooms: Vec<String>,
    over: Arc<AtomicBool>,
    stored: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    unsound: Arc<std::sync::Mutex<Vec<String>>>,
    changes: Changes,
    nodes: Arc<Nodes>,
}

impl Speaker {
    /// Sends at this pace, without waiting for answers up to a limit; afterwards catches up with the pace.
    async fn speak(self, pace: Duration, mut rng: StdRng) -> Result<()> {
        let mut tick = interval(pace);
        let mut sending = JoinSet::new();
        let mut said = 0_u64;
        while !self.over.load(Ordering::Relaxed) {
            tick.tick().await;
            while sending.len() >= MAX_UNANSWERED {
                sending.join_next().await;
            }
            while sending.try_join_next().is_some() {}
            said += 1;
            let room = self.rooms[rng.random_range(0..self.rooms.len())].clone();
            let mut options = SendOptions { accepted: rng.random_ratio(1, 4), ..SendOptions::default() };
            if rng.random_ratio(1, 6) {
                options.visible_to = vec![self.others[rng.random_range(0..self.others.len())].clone()];
            }
            let change = (!options.accepted && rng.random_ratio(1, 20)).then(|| Intent::random(&mut rng));
            let text = format!("{} says {said} in {room}", self.person.name);
            sending.spawn(self.clone().send(room, text, options, change));
        }
        sending.join_all().await;
        Ok(())
    }

    async fn send(self, room: String, text: String, options: SendOptions, change: Option<Intent>) {
        match self.person.listener.send_as(&room, &text, options).await {
            Ok(sent) => {
                self.stored.fetch_add(1, Ordering::Relaxed);
                if let Some(change) = change {
                    self.change(&room, &sent, change).await;
                }
            }
            Err(why) => lock(&self.failed).push(format!("{} could not send: {why}", self.person.name)),
        }
    }
}

fn http_of(nodes: &Nodes, user: &str) -> Vec<Http> {
    let token = Token::of(user).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret);
    nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect()
}
