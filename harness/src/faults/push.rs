//! A user who is away during a run, and whom two replicas of `tidings-push` tell of messages. Each message has a room of its
//! own, because a later message of a room would take the place of a lost notification. Meanwhile the replicas are killed
//! and paused, and the push service fails or is slow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::replicas::{disturb_with_receiver, start_anew, wait_for_deliveries};
use super::sound::find_panics;
use super::{Plan, World};
use crate::Stack;
use crate::history::{Rule, Violation};
use crate::http::Http;
use crate::listener::TOKEN_TTL_S;
use crate::play::history::{create_room, request_until_answered};
use crate::push::{Browser, PushNode};
use crate::token::Token;
use crate::webhooks::Receiver;

const AWAY_USER: &str = "away";
const SENDER: &str = "pusher";
/// Number of tasks that send, because a request may wait for a fault to end.
const SENDER_TASKS: usize = 4;
/// The pause between two messages of a task.
const MESSAGE_PAUSE: Duration = Duration::from_secs(1);
/// Limit of the waiting notifications above which nothing is sent. The service leaves out rooms above 100 per device; the
/// difference is for messages that it has not read yet.
const MAX_WAITING: u64 = 30;
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);
/// One message in this many is not visible to the user who is away.
const MESSAGES_PER_HIDDEN: usize = 5;
/// Counts the notifications in the queue.
const QUEUE_LENGTH_SQL: &str = "SELECT count(*) FROM push_pending";
/// Limit of the violations that are reported.
const MAX_VIOLATIONS: usize = 20;
const SETTINGS: [(&str, &str); 1] = [
    // Longer than all jumps of clocks, so that no message is too old to be told.
    ("TIDINGS_PUSH_TTL_S", "86400"),
];

/// The user who is away, the user who sends, and the replicas.
pub(super) struct AwayUser {
    service: Arc<Receiver>,
    browser: Browser,
    stop_faults: Arc<Notify>,
    faults: JoinHandle<Result<[PushNode; 2]>>,
    nodes: Option<[PushNode; 2]>,
    stop: watch::Sender<bool>,
    senders: JoinSet<Result<()>>,
}

impl AwayUser {
    /// Starts the replicas and the push service, registers the browser of the user, and begins to send.
    pub async fn start(world: &World, plan: &Plan) -> Result<AwayUser> {
        let mut settings = SETTINGS.to_vec();
        settings.extend(plan.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let start = |name| PushNode::start(&world.stack, name, &settings);
        let nodes = [start("push-0").await?, start("push-1").await?];
        let service = Arc::new(Receiver::start().await?);
        let browser = Browser::subscribe(&service, AWAY_USER)?;
        // A user exists from the first request on.
        world.stack.http(AWAY_USER).my_rooms("").await?.expect(200);
        nodes[0].register(&world.stack, AWAY_USER, &browser).await?;
        let stop_faults = Arc::new(Notify::new());
        let rng = StdRng::seed_from_u64(plan.seed.wrapping_mul(1000) + 200);
        let faults = tokio::spawn(disturb_with_receiver(nodes, service.clone(), stop_faults.clone(), rng));
        let (stop, stopped) = watch::channel(false);
        let mut senders = JoinSet::new();
        for number in 0..SENDER_TASKS {
            let (stack, nodes) = (Arc::clone(&world.stack), http_clients(world));
            senders.spawn(send_messages(number, stack, nodes, stopped.clone()));
        }
        Ok(AwayUser { service, browser, stop_faults, faults, nodes: None, stop, senders })
    }

    /// Stops new faults of the replicas and new messages.
    pub fn stop(&self) {
        self.stop_faults.notify_one();
        self.stop.send_replace(true);
    }

    /// Waits until the last message is answered and both replicas run.
    pub async fn finish(&mut self) -> Result<()> {
        while let Some(sent) = self.senders.join_next().await {
            sent.context("a sender to a user who is away")??;
        }
        self.nodes = Some((&mut self.faults).await?.context("a replica of push")?);
        Ok(())
    }

    /// Ends the tasks that have not finished in time.
    pub fn abort(&mut self) {
        self.faults.abort();
        self.senders.abort_all();
    }

    /// Waits until the user is told of everything, and compares that with the stored messages. Returns the number of
    /// messages that the user was told of.
    pub async fn check(self, world: &World) -> Result<(u64, Vec<Violation>)> {
        let violation = |rule, room: &str, seq, what| Violation {
            rule,
            room: room.to_owned(),
            seq,
            user: AWAY_USER.to_owned(),
            what,
        };
        // The run has not settled, which it reports.
        let Some(nodes) = &self.nodes else { return Ok((0, Vec::new())) };
        start_anew(nodes).await?;
        let wanted = Self::stored_messages(world).await?;
        let mut told = BTreeSet::new();
        let progress = || {
            told = self.told()?;
            Ok((told.len(), told.is_superset(&wanted)))
        };
        wait_for_deliveries(world.stack.database(), QUEUE_LENGTH_SQL, progress).await?;
        let mut violations = Vec::new();
        for (room, seq) in wanted.difference(&told) {
            violations.push(violation(Rule::Push, room, *seq, "the user got no notification".to_owned()));
        }
        for (room, seq) in told.difference(&wanted) {
            violations.push(violation(
                Rule::Push,
                room,
                *seq,
                "the user got a notification of a message that is not stored or not visible".to_owned(),
            ));
        }
        violations.truncate(MAX_VIOLATIONS);
        for node in nodes {
            let panics = find_panics(&node.log()?).into_iter();
            violations
                .extend(panics.map(|what| violation(Rule::Sound, "", 0, format!("tidings-push: {what}"))));
        }
        Ok((told.len() as u64, violations))
    }

    /// The rooms and seqs of the stored messages that the user may see.
    async fn stored_messages(world: &World) -> Result<BTreeSet<(String, u64)>> {
        let sql = format!(
            "SELECT room_id, seq FROM messages WHERE sender_id = '{SENDER}' AND visible_users IS NULL"
        );
        let mut stored = BTreeSet::new();
        for row in world.stack.database().query(&sql).await? {
            let [room, seq] = row.as_slice() else { continue };
            stored.insert((room.clone(), seq.parse().context("a seq")?));
        }
        ensure!(!stored.is_empty(), "nothing was sent to the user who is away");
        Ok(stored)
    }

    /// The rooms and seqs of the accepted notifications.
    fn told(&self) -> Result<BTreeSet<(String, u64)>> {
        let notifications = self.browser.notifications(&self.service)?;
        let position = |notification: serde_json::Value| {
            Some((notification["room"].as_str()?.to_owned(), notification["seq"].as_u64()?))
        };
        notifications.into_iter().map(|it| position(it).context("a notification without a seq")).collect()
    }
}

/// The APIs of all persistence nodes, with a token of the sender.
fn http_clients(world: &World) -> Vec<Http> {
    let nodes = world.nodes();
    let token = Token::of(SENDER).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret);
    nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect()
}

/// Sends messages to rooms with the user who is away until `stop` is set.
async fn send_messages(
    task: usize,
    stack: Arc<Stack>,
    nodes: Vec<Http>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    for number in (task..).step_by(SENDER_TASKS) {
        if timeout(MESSAGE_PAUSE, stop.wait_for(|stopped| *stopped)).await.is_ok() {
            return Ok(());
        }
        if !has_room_for_more(&stack).await {
            continue;
        }
        let members = vec![json!({ "user": AWAY_USER })];
        let (room, _) = create_room(&nodes, &format!("away {number}"), members).await?;
        let mut form = json!({ "client_id": "only", "content": format!("message {number}") });
        if number % MESSAGES_PER_HIDDEN == 0 {
            form["visible_to"] = json!({ "users": [SENDER] });
        }
        let path = format!("/rooms/{room}/messages");
        let send = |http: Http| {
            let (path, form) = (path.clone(), form.clone());
            async move { http.post(&path, form).await }
        };
        let answer = request_until_answered(&nodes, "send to a user who is away", send).await?;
        ensure!([200, 201, 202].contains(&answer.status), "{} {}", answer.status, answer.body);
    }
    Ok(())
}

/// Whether few notifications wait. False while PostgreSQL does not answer.
async fn has_room_for_more(stack: &Stack) -> bool {
    let count = stack.database().value(QUEUE_LENGTH_SQL);
    let Ok(Ok(count)) = timeout(COUNT_TIMEOUT, count).await else { return false };
    count.parse::<u64>().is_ok_and(|count| count < MAX_WAITING)
}
