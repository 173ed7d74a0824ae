//! What the process itself uses, as Linux tells it in `/proc/self`: memory, CPU, file descriptors, its start. What
//! cannot be read is left out.

use std::fs;

/// Ticks in a second of the times in `/proc`: fixed by the kernel towards programs, on all that we are built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub resident_bytes: Option<i64>,
    pub cpu_seconds: Option<f64>,
    pub open_fds: Option<i64>,
    pub max_fds: Option<i64>,
    /// Since the Unix epoch.
    pub started_at_seconds: Option<f64>,
}

impl Usage {
    /// What is used now.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        let (limits, kernel) = (read("/proc/self/limits"), read("/proc/stat"));
        let ticks = |field| field_of(&stat, field).map(|ticks| ticks / TICKS_PER_SECOND);
        Self {
            resident_bytes: word_behind(&status, "VmRSS:").map(|kib| kib.saturating_mul(1024)),
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            open_fds: open_fds(),
            max_fds: word_behind(&limits, "Max open files"),
            started_at_seconds: ticks(22)
                .zip(word_behind(&kernel, "btime"))
                .map(|(up, boot)| up + boot as f64),
        }
    }
}

/// A field of `/proc/self/stat`, counted from 1 as in proc(5). The second is the program's name, which may hold spaces.
fn field_of(stat: &str, number: usize) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(number.checked_sub(3)?)?.trim().parse().ok()
}

/// The number behind a heading at the beginning of a line.
fn word_behind(text: &str, heading: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(heading))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<i64> {
    let folder = "/proc/self/fd";
    // Newer kernels tell it as the folder's size, which costs nothing; else tens of thousands are counted.
    let told = fs::metadata(folder).ok()?.len();
    let count = if told > 0 { told } else { fs::read_dir(folder).ok()?.count() as u64 };
    i64::try_from(count).ok()
}

/// Sets the metrics of build and process, which both services declare under the same names.
#[macro_export]
macro_rules! tell_process {
    ($metrics:expr) => {{
        let (metrics, usage) = (&$metrics, $crate::process::Usage::now());
        metrics.build.with_label_values(&[$crate::version::VERSION, $crate::version::commit()]).set(1);
        for (cause, total) in $crate::telemetry::spans_lost() {
            let counter = metrics.spans_lost.with_label_values(&[cause]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        if let Some(bytes) = usage.resident_bytes {
            metrics.resident_memory.set(bytes);
        }
        if let Some(seconds) = usage.cpu_seconds {
            metrics.cpu_seconds.inc_by((seconds - metrics.cpu_seconds.get()).max(0.0));
        }
        if let Some(open) = usage.open_fds {
            metrics.open_fds.set(open);
        }
        if let Some(max) = usage.max_fds {
            metrics.max_fds.set(max);
        }
        if let Some(seconds) = usage.started_at_seconds {
            metrics.start_time.set(seconds);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_past() {
        let spent = (0..30_000_000_u64).fold(0_u64, |sum, n| sum.wrapping_add(std::hint::black_box(n)));
        std::hint::black_box(spent);
        let usage = Usage::now();
        assert!(usage.resident_bytes.unwrap() > 1 << 20, "{usage:?}");
        assert!(usage.cpu_seconds.unwrap() > 0.0, "{usage:?}");
        assert!(
            usage.open_fds.unwrap() >= 3 && usage.max_fds.unwrap() >= usage.open_fds.unwrap(),
            "{usage:?}"
        );
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - usage.started_at_seconds.unwrap()).abs() < 3600.0, "{usage:?}");
    }

    #[test]
    fn a_name_with_spaces_and_brackets_moves_no_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 4 0 900 0 0";
        assert_eq!(
            (field_of(stat, 14), field_of(stat, 15), field_of(stat, 22)),
            (Some(250.0), Some(50.0), Some(900.0))
        );
    }
}
