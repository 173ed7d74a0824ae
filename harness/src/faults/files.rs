//! Users who share files during a run: they upload to two replicas of `tidings-files`, and send messages that name the
//! files. Meanwhile the replicas are killed, paused and restarted. At the end every file that a stored message shows is
//! downloaded through its message, and compared with what was uploaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::load::Load;
use super::replicas::{DISTURBANCE_MS, PAUSE_MS, kill_and_restart, pause_and_resume, restart};
use super::sound::find_panics;
use super::{Plan, World};
use crate::files::{FileUser, FilesNode};
use crate::history::{StoredLog, Violation};
use crate::listener::{TOKEN_TTL_S, lock};
use crate::token::Token;

mod check;
mod sharer;
mod upload;

use check::{FileCheck, SharedCounts};
use sharer::{Shared, Sharer};
use upload::Uploader;

/// Number of users who share files.
const SHARERS: usize = 3;
const SETTINGS: [(&str, &str); 4] = [
    // The sweep looks for the message of each complete file again and again.
    ("TIDINGS_FILES_CHECK_EVERY_S", "2"),
    // The sweep removes abandoned uploads, and sometimes one that waits for faults to end. Its client begins again.
    ("TIDINGS_FILES_UPLOAD_TIMEOUT_S", "60"),
    // More than the two hours that PostgreSQL's clock may jump forward, so that a jump does not remove a file whose
    // message is not stored yet. The sweep therefore removes no complete file in a run.
    ("TIDINGS_FILES_ORPHAN_AFTER_S", "7500"),
    ("TIDINGS_FILES_MAX_USER_UPLOADS", "1000"),
];

/// The users who share files, and the replicas.
pub(super) struct FileSharers {
    nodes: Arc<[FilesNode; 2]>,
    /// All users at both replicas.
    users: BTreeMap<String, Vec<FileUser>>,
    shared: Arc<Mutex<Shared>>,
    stop_faults: Arc<Notify>,
    faults: JoinHandle<Result<()>>,
    stop: watch::Sender<bool>,
    sharers: JoinSet<()>,
}

impl FileSharers {
    pub async fn start(world: &World, plan: &Plan, load: &Load) -> Result<FileSharers> {
        let mut settings = SETTINGS.to_vec();
        settings.extend(plan.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let start = |name| FilesNode::start(&world.stack, name, &settings);
        let nodes = Arc::new([start("files-0").await?, start("files-1").await?]);
        let stop_faults = Arc::new(Notify::new());
        let rng = |number| StdRng::seed_from_u64(plan.seed.wrapping_mul(1000) + number);
        let faults = tokio::spawn(disturb(Arc::clone(&nodes), Arc::clone(&stop_faults), rng(100)));
        let (stop, stopped) = watch::channel(false);
        let (shared, mut sharers) = (Arc::<Mutex<Shared>>::default(), JoinSet::new());
        let mut users = BTreeMap::new();
        for person in load.people() {
            let token = Token::of(&person.name).ttl_s(TOKEN_TTL_S).sign(world.stack.jwt_secret());
            users.insert(person.name.clone(), nodes.iter().map(|node| node.user(&token)).collect::<Vec<_>>());
        }
        for (number, person) in load.people().iter().take(SHARERS).enumerate() {
            let sharer = Sharer {
                person: Arc::clone(person),
                others: users.keys().cloned().collect(),
                rooms: load.rooms().to_vec(),
                shared: Arc::clone(&shared),
            };
            let (replicas, rng) = (users[&person.name].clone(), rng(101 + number as u64));
            let uploader = Uploader { replicas, rng, internal_errors: Vec::new() };
            sharers.spawn(sharer.share_files(uploader, stopped.clone()));
        }
        Ok(FileSharers { nodes, users, shared, stop_faults, faults, stop, sharers })
    }

    /// Stops new faults of the replicas and new uploads.
    pub fn stop(&self) {
        self.stop_faults.notify_one();
        self.stop.send_replace(true);
    }

    /// Waits until the users have shared the files that they have begun.
    pub async fn finish(&mut self) -> Result<()> {
        (&mut self.faults).await?.context("a replica of files")?;
        while let Some(ended) = self.sharers.join_next().await {
            ended.context("a user who shares files")?;
        }
        Ok(())
    }

    /// Ends the tasks that have not finished in time.
    pub fn abort(&mut self) {
        self.faults.abort();
        self.sharers.abort_all();
    }

    /// Errors of the messages that the users sent.
    pub fn client_errors(&self) -> Vec<String> {
        lock(&self.shared).client_errors.clone()
    }

    /// Answers by which the service reported an internal error, and its panics.
    pub fn internal_errors(&self) -> Result<Vec<String>> {
        let mut errors = lock(&self.shared).internal_errors.clone();
        for node in self.nodes.iter() {
            errors.extend(find_panics(&node.log()?).into_iter().map(|what| format!("tidings-files: {what}")));
        }
        Ok(errors)
    }

    /// Compares the files with the stored messages. Restarts both replicas first, so that the result depends neither on
    /// their memory nor on a fault that is still active.
    pub async fn check(
        self,
        world: &World,
        stored: &BTreeMap<String, StoredLog>,
    ) -> Result<(SharedCounts, Vec<Violation>)> {
        for node in self.nodes.iter() {
            // This fails if the replica does not run.
            let _ = node.resume();
            restart(node).await?;
        }
        let (files, broken) = {
            let mut shared = lock(&self.shared);
            (std::mem::take(&mut shared.files), std::mem::take(&mut shared.broken))
        };
        FileCheck { users: self.users, files, broken }.run(world.stack.database(), stored).await
    }
}

/// Disturbs the replicas until `stop` is notified. Then both run.
async fn disturb(nodes: Arc<[FilesNode; 2]>, stop: Arc<Notify>, mut rng: StdRng) -> Result<()> {
    let ms = Duration::from_millis;
    loop {
        let (pause, time) = (ms(rng.random_range(PAUSE_MS)), ms(rng.random_range(DISTURBANCE_MS)));
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.notified() => return Ok(()),
        }
        let node = &nodes[rng.random_range(0..2)];
        match rng.random_range(0..5) {
            0 | 1 => kill_and_restart(node, time).await?,
            2 | 3 => pause_and_resume(node, time * 2).await?,
            _ => restart(node).await?,
        }
    }
}
