//! Where the systems of tests keep their data.

use crate::context::Context;
use crate::process::output;

const MEMORY: &str = "/dev/shm";
/// Eight systems at a time, a hundred databases that wait for their removal, and the browsers need a third of this.
const LEAST_KIB: u64 = 6 * 1024 * 1024;

/// Keeps the data of test systems in tmpfs if the machine has enough free memory. On a disk, a core was busy with writing databases that live for
/// seconds. Tests kill processes and never the machine, so they see no difference.
pub fn keep_test_data_in_tmpfs(context: &mut Context) {
    let enough = free_kib(context).is_some_and(|free| free >= LEAST_KIB);
    if context.variable("TMPDIR").is_none() && enough && allows_programs() {
        context.set("TMPDIR", MEMORY);
    }
}

/// Whether programs may be executed there: containers often forbid it, and tests start programs from their folders.
fn allows_programs() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let options = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words.get(1) == Some(&MEMORY)).then(|| words.get(3).copied())?
    });
    options
        .into_iter()
        .next_back()
        .is_some_and(|options| !options.split(',').any(|option| option == "noexec"))
}

/// The free memory of the machine that the folder may use.
fn free_kib(context: &Context) -> Option<u64> {
    let folder = output(context.command("df").args(["--output=avail", "-k", MEMORY]))?;
    let folder = folder.lines().last()?.trim().parse::<u64>().ok()?;
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let memory = memory.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(folder.min(memory))
}
