//! The resource usage of this process by Linux's `/proc/self`: memory, CPU, file descriptors, start time. Values that
//! cannot be read are left out.

use std::fs;

/// Ticks per second of the times in `/proc`; the kernel fixes this number for user space on all supported platforms.
const TICKS_PER_SECOND: f64 = 100.0;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub resident_bytes: Option<i64>,
    pub cpu_seconds: Option<f64>,
    pub open_fds: Option<i64>,
    pub max_fds: Option<i64>,
    /// In seconds since the Unix epoch.
    pub started_at_seconds: Option<f64>,
}

impl Usage {
    /// Reads the present usage.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        let (limits, kernel) = (read("/proc/self/limits"), read("/proc/stat"));
        let ticks = |field| field_of(&stat, field).map(|ticks| ticks / TICKS_PER_SECOND);
        Self {
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib.saturating_mul(1024)),
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            open_fds: open_fds(),
            max_fds: number_after(&limits, "Max open files"),
            started_at_seconds: ticks(22)
                .zip(number_after(&kernel, "btime"))
                .map(|(up, boot)| up + boot as f64),
        }
    }
}

/// A field of `/proc/self/stat`, counted from 1 as in proc(5). The second is the program's name, which may contain
/// spaces.
fn field_of(stat: &str, number: usize) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(number.checked_sub(3)?)?.trim().parse().ok()
}

/// The number after a heading at the beginning of a line.
fn number_after(text: &str, heading: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(heading))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<i64> {
    let folder = "/proc/self/fd";
    // Newer kernels report the number as the size of the folder, which is cheap; older ones need a count.
    let size = fs::metadata(folder).ok()?.len();
    let count = if size > 0 { size } else { fs::read_dir(folder).ok()?.count() as u64 };
    i64::try_from(count).ok()
}

/// Sets the metrics of the build and the process, which both services declare under the same names.
#[macro_export]
macro_rules! set_process_metrics {
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
    fn usage_of_this_process_is_plausible() {
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
    fn program_name_with_spaces_does_not_shift_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 4 0 900 0 0";
        assert_eq!(
            (field_of(stat, 14), field_of(stat, 15), field_of(stat, 22)),
            (Some(250.0), Some(50.0), Some(900.0))
        );
    }
}
