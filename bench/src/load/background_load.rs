//! A load generator on its own thread. Its latencies do not depend on other work of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

use super::{LoadGenerator, Tally, Work};

/// A load generator that sends on its own thread.
pub struct BackgroundLoad {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(LoadGenerator, Result<Tally>)>,
}

impl BackgroundLoad {
    /// Sends messages at a fixed rate until [`BackgroundLoad::finish`]. The pairs of client and room take turns.
    #[must_use]
    pub fn start(
        mut load: LoadGenerator,
        senders: &[(u32, u32)],
        characters: u16,
        per_second: f64,
    ) -> BackgroundLoad {
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work::Until { senders: senders.to_vec(), characters, per_second, stop: stop.clone() };
        let thread = thread::spawn(move || {
            let tally = load.run(&work);
            (load, tally)
        });
        BackgroundLoad { stop, thread }
    }

    /// Stops sending, waits for missing deliveries and acks, and returns the generator and its tally.
    ///
    /// # Errors
    /// When the generator failed.
    pub fn finish(self) -> Result<(LoadGenerator, Tally)> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::block_in_place(|| self.thread.join());
        let (load, tally) = joined.map_err(|_| anyhow!("the load generator panicked"))?;
        Ok((load, tally?))
    }
}
