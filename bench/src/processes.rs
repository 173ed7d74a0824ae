//! CPU times and resident memory of processes and their descendants, and CPU times of the machine, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;
use tidings_harness::memory;

/// Interval of a [`MemoryWatch`].
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// A measured process.
#[derive(Debug, Clone)]
pub struct Process {
    /// The name in figures, such as `gateway` or `redis`; several processes may share a name.
    pub name: String,
    /// The pid of this process. The usage of its child processes, such as PostgreSQL's backends, is added to it.
    pub pid: u32,
}

/// CPU times in seconds, by process name.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct CpuTimes(pub BTreeMap<String, f64>);

impl CpuTimes {
    /// The CPU times since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &CpuTimes) -> CpuTimes {
        let used = |(name, now): (&String, &f64)| {
            (name.clone(), now - earlier.0.get(name).copied().unwrap_or_default())
        };
        CpuTimes(self.0.iter().map(used).collect())
    }

    /// The sum of all processes, in seconds.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }
}

/// Reads the CPU times of these processes. Each time contains that of the process's descendants, including those that
/// have ended.
pub fn cpu_times(processes: &[Process]) -> Result<CpuTimes> {
    let children_by_parent = children_by_parent()?;
    let mut used = BTreeMap::new();
    for process in processes {
        let mut seconds = cpu_seconds(process.pid)?;
        for child in descendants(&children_by_parent, process.pid) {
            // If the child has just ended, its time is lost here; the next reading of its parent contains it.
            seconds += cpu_seconds(child).unwrap_or_default();
        }
        *used.entry(process.name.clone()).or_default() += seconds;
    }
    Ok(CpuTimes(used))
}

/// The CPU time of this process in seconds, without its descendants.
pub fn own_cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}

/// The busy time and the whole time of all cores of the machine since its start, in clock ticks.
pub fn machine_cpu_ticks() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("/proc/stat has no sum")?;
    // user, nice, system, idle, iowait, irq, softirq, steal. The times of guests are also part of `user` and `nice`.
    let times: Vec<u64> = line.split_ascii_whitespace().take(8).flat_map(str::parse::<u64>).collect();
    let (total, idle): (u64, u64) = (times.iter().sum(), times.iter().skip(3).take(2).sum());
    Ok((total - idle, total))
}

/// Reads the resident memory of these processes and their descendants in bytes, by process name. Shared memory counts
/// for each process.
pub fn resident_memory(processes: &[Process]) -> Result<BTreeMap<String, u64>> {
    let children_by_parent = children_by_parent()?;
    let mut resident = BTreeMap::new();
    for process in processes {
        let mut bytes = memory::resident(process.pid)?;
        for child in descendants(&children_by_parent, process.pid) {
            bytes += memory::resident(child).unwrap_or_default();
        }
        *resident.entry(process.name.clone()).or_default() += bytes;
    }
    Ok(resident)
}

/// Measures the maximum of the resident memory of processes, on its own thread, until [`MemoryWatch::finish`].
pub struct MemoryWatch {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl MemoryWatch {
    /// Starts to measure these processes.
    #[must_use]
    pub fn start(processes: Vec<Process>) -> MemoryWatch {
        let done = Arc::new(AtomicBool::new(false));
        let stopped = done.clone();
        let thread = thread::spawn(move || {
            let mut max_resident = 0;
            while !stopped.load(Ordering::Relaxed) {
                let resident = processes.iter().flat_map(|process| memory::resident(process.pid)).sum();
                max_resident = max_resident.max(resident);
                thread::sleep(SAMPLE_INTERVAL);
            }
            max_resident
        });
        MemoryWatch { done, thread }
    }

    /// Stops. Returns the maximum of the sum of all processes, in bytes.
    #[must_use]
    pub fn finish(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// CPU seconds of a process and of its children that have ended. For the threads of the process the scheduler counts
/// nanoseconds; for ended children there are only clock ticks.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0_u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("{pid} is gone"))? {
        // The time of a thread that ends meanwhile is lost, but threads of the measured processes do not end.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let ran = text.split_ascii_whitespace().next().context("schedstat is empty")?;
        nanoseconds += ran.parse::<u64>()?;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
    let ended: u64 = fields.split_ascii_whitespace().skip(13).take(2).flat_map(str::parse::<u64>).sum();
    Ok(nanoseconds as f64 / 1e9 + ended as f64 / ticks_per_second())
}

fn ticks_per_second() -> f64 {
    // 100 ticks is the value of Linux on every supported machine.
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

/// The pids of the children of every process, by the parent's pid.
fn children_by_parent() -> Result<BTreeMap<u32, BTreeSet<u32>>> {
    let mut children_by_parent: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children_by_parent.entry(parent).or_default().insert(pid);
        }
    }
    Ok(children_by_parent)
}

fn descendants(children_by_parent: &BTreeMap<u32, BTreeSet<u32>>, pid: u32) -> Vec<u32> {
    let mut all: Vec<u32> = children_by_parent.get(&pid).into_iter().flatten().copied().collect();
    let mut next = 0;
    while next < all.len() {
        all.extend(children_by_parent.get(&all[next]).into_iter().flatten().copied());
        next += 1;
    }
    all
}
