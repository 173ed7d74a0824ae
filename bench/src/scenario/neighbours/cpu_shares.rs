//! CPU times during a sample, so that the reader sees whether the cores were saturated.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::processes::{self, CpuTimes, Process};

/// The name of this process in figures. It measures the quiet rooms.
const OWN_NAME: &str = "quiet";

/// CPU times in percent.
pub(super) struct CpuShares {
    /// By process name, in percent of one core.
    pub(super) processes: BTreeMap<String, f64>,
    /// Of the whole machine, in percent of all cores.
    pub(super) machine: f64,
}

/// Waits for this time. Returns the CPU times of these processes, of this process and of the machine in this time.
pub(super) async fn measure_during(processes: &[Process], time: Duration) -> Result<CpuShares> {
    let (begun, before) = (Instant::now(), read_cpu_times(processes)?);
    let (busy_before, total_before) = processes::machine_cpu_ticks()?;
    tokio::time::sleep(time).await;
    let used = read_cpu_times(processes)?.since(&before);
    let (busy, total) = processes::machine_cpu_ticks()?;
    let percent = 100.0 / begun.elapsed().as_secs_f64();
    Ok(CpuShares {
        processes: used.0.into_iter().map(|(name, seconds)| (name, seconds * percent)).collect(),
        machine: (busy - busy_before) as f64 * 100.0 / (total - total_before) as f64,
    })
}

fn read_cpu_times(processes: &[Process]) -> Result<CpuTimes> {
    let mut times = processes::cpu_times(processes)?;
    times.0.insert(OWN_NAME.to_owned(), processes::own_cpu_seconds()?);
    Ok(times)
}
