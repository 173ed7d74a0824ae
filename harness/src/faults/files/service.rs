//! The replicas of `tidings-files` during a run, and the server of their bucket. They are killed, paused and restarted
//! one after the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::faults::replicas::{DISTURBANCE_MS, PAUSE_MS, kill_and_restart, pause_and_resume, restart};
use crate::faults::sound::find_panics;
use crate::faults::{Plan, World};
use crate::files::{FileUser, FilesNode, S3Server};

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
/// Disturbances with a lower number hit a replica of `tidings-files`. The others hit the server of the bucket.
const REPLICA_DISTURBANCES: u32 = 5;
/// Number of all disturbances of a run with a bucket.
const BUCKET_DISTURBANCES: u32 = 9;

/// The replicas, and the server of their bucket.
pub(super) struct FileService {
    nodes: [FilesNode; 2],
    /// `None` if the files are in a folder.
    server: Option<S3Server>,
}

impl FileService {
    pub async fn start(world: &World, plan: &Plan) -> Result<FileService> {
        let mut settings = SETTINGS.to_vec();
        settings.extend(plan.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let stack = &world.stack;
        let server = if plan.bucket { Some(S3Server::start(stack).await?) } else { None };
        let start = async |name| match &server {
            Some(server) => FilesNode::start_with_bucket(stack, name, server, &settings).await,
            None => FilesNode::start(stack, name, &settings).await,
        };
        let nodes = [start("files-0").await?, start("files-1").await?];
        Ok(FileService { nodes, server })
    }

    /// A user at each replica.
    pub fn users(&self, token: &str) -> Vec<FileUser> {
        self.nodes.iter().map(|node| node.user(token)).collect()
    }

    /// The panics in the logs of the replicas.
    pub fn panics(&self) -> Result<Vec<String>> {
        let mut panics = Vec::new();
        for node in &self.nodes {
            panics.extend(find_panics(&node.log()?).into_iter().map(|what| format!("tidings-files: {what}")));
        }
        Ok(panics)
    }

    /// Restarts everything, also what a fault that is still active has stopped.
    pub async fn restart(&self) -> Result<()> {
        if let Some(server) = &self.server {
            server.kill();
            server.start_again().await?;
        }
        for node in &self.nodes {
            // This fails if the replica does not run.
            let _ = node.resume();
            restart(node).await?;
        }
        Ok(())
    }

    /// Disturbs the replicas and the server until `stop` is notified. Then all of them run.
    pub async fn disturb(self: Arc<Self>, stop: Arc<Notify>, mut rng: StdRng) -> Result<()> {
        let ms = Duration::from_millis;
        let kinds = if self.server.is_some() { BUCKET_DISTURBANCES } else { REPLICA_DISTURBANCES };
        loop {
            let (pause, time) = (ms(rng.random_range(PAUSE_MS)), ms(rng.random_range(DISTURBANCE_MS)));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.notified() => return Ok(()),
            }
            let node = &self.nodes[rng.random_range(0..2)];
            match (rng.random_range(0..kinds), &self.server) {
                (0 | 1, _) => kill_and_restart(node, time).await?,
                (2 | 3, _) => pause_and_resume(node, time * 2).await?,
                (5 | 6, Some(server)) => {
                    server.kill();
                    sleep(time).await;
                    server.start_again().await?;
                }
                (7 | 8, Some(server)) => {
                    server.pause()?;
                    sleep(time * 2).await;
                    server.resume()?;
                }
                _ => restart(node).await?,
            }
        }
    }
}
