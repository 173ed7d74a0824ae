//! CPU time and resident memory of processes, including their children, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tidings_harness::memory;

/// Interval of a [`Watch`].
const LOOK_EACH: Duration = Duration::from_millis(20);

/// A measured process.
#[derive(Debug, Clone)]
pub struct Process {
    /// The name in figures, such as `gateway` or `redis`; several processes may share a name.
    pub name: String,
    /// The pid of this process. The usage of its child processes, such as PostgreSQL's backends, is added to it.
    pub pid: u32,
}

/// CPU time so far in seconds, by name.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Cpu(pub BTreeMap<String, f64>);

impl Cpu {
    /// The CPU time since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Cpu) -> Cpu {
        let used = |(name, now): (&String, &f64)| {
            (name.clone(), now - earlier.0.get(name).copied().unwrap_or_default())
        };
        Cpu(self.0.iter().map(used).collect())
    }

    /// The sum of all processes, in seconds.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }
}

/// Reads the CPU time of these processes and their children, including ended ones.
///
/// # Errors
/// When one has ended.
pub fn cpu(processes: &[Process]) -> Result<Cpu> {
    let families = families()?;
    let mut used = BTreeMap::new();
    for process in processes {
        let mut seconds = of_process(process.pid)?;
        for child in descendants(&families, process.pid) {
            // A child that has just ended is counted with its parent the next time.
            seconds += of_process(child).unwrap_or_default();
        }
        *used.entry(process.name.clone()).or_default() += seconds;
    }
    Ok(Cpu(used))
}

/// Resident bytes of these processes and their children, by name. Shared memory counts for each process.
///
/// # Errors
/// When one has ended.
pub fn resident(processes: &[Process]) -> Result<BTreeMap<String, u64>> {
    let families = families()?;
    let mut resident = BTreeMap::new();
    for process in processes {
        let mut bytes = memory::resident(process.pid)?;
        for child in descendants(&families, process.pid) {
            bytes += memory::resident(child).unwrap_or_default();
        }
        *resident.entry(process.name.clone()).or_default() += bytes;
    }
    Ok(resident)
}

/// Measures the maximum of the resident memory of some processes.
pub struct Watch {
    done: Arc<AtomicBool>,
    looking: JoinHandle<u64>,
}

impl Watch {
    /// Starts to measure these processes.
    #[must_use]
    pub fn begin(processes: Vec<Process>) -> Watch {
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        let looking = thread::spawn(move || {
            let mut most = 0;
            while !told.load(Ordering::Relaxed) {
                let resident = processes.iter().flat_map(|process| memory::resident(process.pid)).sum();
                most = most.max(resident);
                thread::sleep(LOOK_EACH);
            }
            most
        });
        Watch { done, looking }
    }

    /// Stops, and returns the maximum of their sum, in bytes.
    #[must_use]
    pub fn most(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.looking.join().unwrap_or_default()
    }
}

/// CPU seconds: of its threads in nanoseconds, as the scheduler counts them; of its ended children in ticks.
fn of_process(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0_u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("{pid} is gone"))? {
        // The time of a thread that ends during the reading is lost, but threads of the measured processes do not end.
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
    // Linux reports 100 on every supported machine.
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

/// The children of every process.
fn families() -> Result<BTreeMap<u32, BTreeSet<u32>>> {
    let mut families: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            families.entry(parent).or_default().insert(pid);
        }
    }
    Ok(families)
}

fn descendants(families: &BTreeMap<u32, BTreeSet<u32>>, pid: u32) -> Vec<u32> {
    let mut all: Vec<u32> = families.get(&pid).into_iter().flatten().copied().collect();
    let mut next = 0;
    while next < all.len() {
        all.extend(families.get(&all[next]).into_iter().flatten().copied());
        next += 1;
    }
    all
}
