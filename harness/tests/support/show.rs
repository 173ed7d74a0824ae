//! Plays two real conversations through a stack while a test injects faults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::play::outcome::FinishedRun;
use tidings_harness::play::run::{PlayOptions, Progress, Speed, run_conversations};
use tidings_harness::play::transcript::{self, Conversation};
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Nodes, Stack};
use tokio::task::JoinHandle;

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
pub const OBSERVERS: usize = 5;

/// The transcripts in `harness/data`.
pub fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    ["ubuntu-2004-11-15.jsonl", "ubuntu-2016-12-19.jsonl"].map(|name| folder.join(name)).to_vec()
}

/// Both conversations, with the lines of each person repeated `times` times, so that the play lasts long enough.
pub fn conversations(times: usize) -> Result<BTreeMap<String, Conversation>> {
    let mut rooms = transcript::read(&transcripts())?;
    for lines in rooms.values_mut().flat_map(|room| room.people.values_mut()) {
        *lines = std::iter::repeat_n(lines.clone(), times).flatten().collect();
    }
    Ok(rooms)
}

/// Builds a stack of two gateways whose message limits do not slow the play.
pub fn play_stack() -> StackBuilder {
    let builder = Stack::builder().gateways(2);
    builder.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000).gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
}

/// A running play.
pub struct RunningPlay {
    progress: Arc<Progress>,
    play: JoinHandle<Result<FinishedRun>>,
}

impl RunningPlay {
    /// Starts the play at full speed, with five observers in each room.
    pub fn begin(stack: &Stack, conversations: BTreeMap<String, Conversation>) -> RunningPlay {
        let (progress, nodes) = (Arc::new(Progress::default()), Nodes::of(stack));
        let play = tokio::spawn({
            let progress = Arc::clone(&progress);
            async move {
                let options = PlayOptions::new(Speed::Max, OBSERVERS);
                run_conversations(conversations, options, nodes, &progress).await
            }
        });
        RunningPlay { progress, play }
    }

    /// Waits until this percentage of all messages is stored.
    pub async fn until_percent(&self, percent: usize) -> Result<()> {
        self.until(|progress| progress.total() > 0 && progress.stored() * 100 >= progress.total() * percent)
            .await
            .with_context(|| format!("{percent} %"))
    }

    /// Waits until this many more messages are stored.
    pub async fn until_more(&self, more: usize) -> Result<()> {
        let goal = self.progress.stored() + more;
        self.until(|progress| progress.stored() >= goal).await.with_context(|| format!("{more} more"))
    }

    async fn until(&self, done: impl Fn(&Progress) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !done(&self.progress) {
            ensure!(!self.play.is_finished(), "the play has ended");
            ensure!(
                begun.elapsed() < WAIT_TIMEOUT,
                "{} messages are stored after {WAIT_TIMEOUT:?}",
                self.progress.stored()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Fails unless some messages are stored and more than a tenth is still to come, so that a fault now hits the
    /// middle.
    pub fn ensure_under_way(&self) -> Result<()> {
        let (stored, total) = (self.progress.stored(), self.progress.total());
        ensure!(stored > 0 && stored * 10 < total * 9, "{stored} of {total} are stored");
        Ok(())
    }

    /// Waits for the end, and fails if any message was lost, repeated, reordered or changed.
    pub async fn finish_clean(self) -> Result<FinishedRun> {
        let played = self.play.await??;
        let (report, verdict) = played.evaluate().await;
        println!("{} reconnects, {}", played.reconnects(), serde_json::to_string(&report)?);
        ensure!(verdict.is_clean(), "{verdict:#?}");
        ensure!(report.messages == self.progress.total() as u64, "{report:?}");
        ensure!(report.deliveries >= report.messages * OBSERVERS as u64, "{report:?}");
        Ok(played)
    }
}
