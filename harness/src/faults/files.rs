//! Users who share files and images during a run: they upload to two replicas of `tidings-files`, and send messages that
//! name the files. Meanwhile the replicas are killed, paused and restarted, and so is the server of the bucket if the
//! files are in one. At the end every file that a stored message shows is downloaded through its message, and compared
//! with what was uploaded. An image must have lost its metadata, and its preview is decoded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::load::Load;
use super::{Plan, World};
use crate::files::FileUser;
use crate::history::{StoredLog, Violation};
use crate::listener::{TOKEN_TTL_S, lock};
use crate::token::Token;

mod check;
mod content;
mod fetch;
mod image;
mod service;
mod sharer;
mod upload;

use check::{FileCheck, SharedCounts};
use service::FileService;
use sharer::{Shared, Sharer};
use upload::Uploader;

/// Number of users who share files.
const SHARERS: usize = 3;
/// The users who share files, and the service.
pub(super) struct FileSharers {
    service: Arc<FileService>,
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
        let service = Arc::new(FileService::start(world, plan).await?);
        let stop_faults = Arc::new(Notify::new());
        let rng = |number| StdRng::seed_from_u64(plan.seed.wrapping_mul(1000) + number);
        let faults = tokio::spawn(Arc::clone(&service).disturb(Arc::clone(&stop_faults), rng(100)));
        let (stop, stopped) = watch::channel(false);
        let (shared, mut sharers) = (Arc::<Mutex<Shared>>::default(), JoinSet::new());
        let mut users = BTreeMap::new();
        for person in load.people() {
            let token = Token::of(&person.name).ttl_s(TOKEN_TTL_S).sign(world.stack.jwt_secret());
            users.insert(person.name.clone(), service.users(&token));
        }
        for (number, person) in load.people().iter().take(SHARERS).enumerate() {
            let sharer = Sharer {
                person: Arc::clone(person),
                others: users.keys().cloned().collect(),
                rooms: load.rooms().to_vec(),
                shared: Arc::clone(&shared),
                with_bucket: plan.bucket,
            };
            let (replicas, rng) = (users[&person.name].clone(), rng(101 + number as u64));
            let uploader = Uploader { replicas, rng, internal_errors: Vec::new() };
            sharers.spawn(sharer.share_files(uploader, stopped.clone()));
        }
        Ok(FileSharers { service, users, shared, stop_faults, faults, stop, sharers })
    }

    /// Stops new faults of the service and new uploads.
    pub fn stop(&self) {
        self.stop_faults.notify_one();
        self.stop.send_replace(true);
    }

    /// Waits until the users have shared the files that they have begun.
    pub async fn finish(&mut self) -> Result<()> {
        (&mut self.faults).await?.context("the service of files")?;
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
        errors.extend(self.service.panics()?);
        Ok(errors)
    }

    /// Compares the files with the stored messages. Restarts the service first, so that the result depends neither on its
    /// memory nor on a fault that is still active.
    pub async fn check(
        self,
        world: &World,
        stored: &BTreeMap<String, StoredLog>,
    ) -> Result<(SharedCounts, Vec<Violation>)> {
        self.service.restart().await?;
        let (files, broken) = {
            let mut shared = lock(&self.shared);
            (std::mem::take(&mut shared.files), std::mem::take(&mut shared.broken))
        };
        FileCheck { users: self.users, files, broken }.run(world.stack.database(), stored).await
    }
}
