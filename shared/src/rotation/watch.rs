//! Checks watched files at intervals, and reports in metrics and log lines what is in use. One task per process; it
//! reads files on a thread that may block, because a file may be on a slow volume.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec};

use super::watched_file::{CheckOutcome, LoadedFingerprints, WatchedFiles};

/// Interval between two checks. A change needs two checks, so it is in use after two to four seconds.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The metrics of files that are read again. Both services have them, under their own names.
#[derive(Clone)]
pub struct RotationMetrics {
    /// 1 for each value in use, by `setting`, `position` and `fingerprint`.
    pub in_use: IntGaugeVec,
    /// Changed files that were loaded or refused, by `files` and `result`.
    pub reloads: IntCounterVec,
    /// 1 while files cannot be loaded, by `files`.
    pub failing: IntGaugeVec,
}

impl RotationMetrics {
    /// Replaces the reported values of the same files. `before` are the values that were in use.
    fn replace(&self, before: &LoadedFingerprints, now: &LoadedFingerprints) {
        for (setting, position, fingerprint) in numbered(before) {
            // An error means that the value was not reported.
            let _ = self.in_use.remove_label_values(&[setting, &position, fingerprint]);
        }
        for (setting, position, fingerprint) in numbered(now) {
            self.in_use.with_label_values(&[setting, &position, fingerprint]).set(1);
        }
    }
}

/// The values with their positions among the values of their setting, from 1.
fn numbered(loaded: &LoadedFingerprints) -> impl Iterator<Item = (&'static str, String, &str)> {
    loaded.iter().enumerate().map(|(index, (setting, fingerprint))| {
        let before = loaded[..index].iter().filter(|(other, _)| other == setting).count();
        (*setting, (before + 1).to_string(), fingerprint.as_str())
    })
}

/// Loads all files, reports what is in use, and starts the task that checks them for changes, on the current runtime.
pub fn start(files: Vec<WatchedFiles>, metrics: RotationMetrics) {
    let mut watched: Vec<(WatchedFiles, LoadedFingerprints)> =
        files.into_iter().map(|files| (files, Vec::new())).collect();
    for (files, in_use) in &mut watched {
        for result in ["good", "failed"] {
            metrics.reloads.with_label_values(&[files.name, result]).inc_by(0);
        }
        metrics.failing.with_label_values(&[files.name]).set(0);
        match files.load_first() {
            CheckOutcome::Loaded(now) => {
                metrics.replace(&Vec::new(), &now);
                *in_use = now;
            }
            checked => report(&metrics, files.name, in_use, checked),
        }
    }
    let names: Vec<&'static str> = watched.iter().map(|(files, _)| files.name).collect();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let (mut moved, reported) = (watched, metrics.clone());
            let checked = tokio::task::spawn_blocking(move || {
                for (files, in_use) in &mut moved {
                    let checked = files.check();
                    report(&reported, files.name, in_use, checked);
                }
                moved
            });
            match checked.await {
                Ok(back) => watched = back,
                Err(error) => {
                    for name in names {
                        metrics.failing.with_label_values(&[name]).set(1);
                    }
                    tracing::error!(%error, "secrets and keys are no longer read again; restart this node");
                    return;
                }
            }
        }
    });
}

/// Reports the result of a check, and keeps in `in_use` what is reported as used.
fn report(
    metrics: &RotationMetrics,
    name: &'static str,
    in_use: &mut LoadedFingerprints,
    checked: CheckOutcome,
) {
    let failing = metrics.failing.with_label_values(&[name]);
    let count = |result: &str| metrics.reloads.with_label_values(&[name, result]).inc();
    match checked {
        CheckOutcome::Changing => {}
        CheckOutcome::Current => failing.set(0),
        CheckOutcome::Loaded(now) => {
            failing.set(0);
            count("good");
            metrics.replace(in_use, &now);
            let fingerprints: Vec<&str> = now.iter().map(|(_, fingerprint)| fingerprint.as_str()).collect();
            tracing::info!(files = name, ?fingerprints, "changed files are in use");
            *in_use = now;
        }
        CheckOutcome::Failed { cause, is_new } => {
            failing.set(1);
            if is_new {
                count("failed");
                tracing::error!(
                    files = name,
                    cause,
                    "changed files cannot be used; the old values stay in use"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_value_is_no_longer_reported() {
        let metrics = RotationMetrics {
            in_use: IntGaugeVec::new(
                prometheus::Opts::new("u", "u"),
                &["setting", "position", "fingerprint"],
            )
            .unwrap(),
            reloads: IntCounterVec::new(prometheus::Opts::new("r", "r"), &["files", "result"]).unwrap(),
            failing: IntGaugeVec::new(prometheus::Opts::new("f", "f"), &["files"]).unwrap(),
        };
        let mut in_use = vec![("a", "old".to_owned())];
        metrics.replace(&Vec::new(), &in_use);
        let now = vec![("a", "new".to_owned()), ("a", "old".to_owned()), ("b", "key".to_owned())];
        report(&metrics, "f", &mut in_use, CheckOutcome::Loaded(now));
        let value = |labels: [&str; 3]| metrics.in_use.get_metric_with_label_values(&labels).unwrap().get();
        assert_eq!(value(["a", "1", "new"]), 1);
        assert_eq!(value(["a", "2", "old"]), 1);
        assert_eq!(value(["b", "1", "key"]), 1);
        assert_eq!(value(["a", "1", "old"]), 0);
        report(&metrics, "f", &mut in_use, CheckOutcome::Failed { cause: "x".to_owned(), is_new: true });
        assert_eq!(metrics.failing.with_label_values(&["f"]).get(), 1);
        assert_eq!(in_use.len(), 3);
    }
}
