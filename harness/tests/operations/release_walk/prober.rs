//! One probe of a pod, at its period and with its threshold, as a kubelet runs it.

use std::time::{Duration, Instant};

use anyhow::Result;
use tidings_harness::http;

use super::objects::Probe;
use super::record::{ProbeKind, Record};

/// A probe and its last answers.
pub struct Prober {
    kind: ProbeKind,
    probe: Probe,
    /// The port of this machine.
    port: u16,
    due: Instant,
    failures: u32,
}

impl Prober {
    pub fn new(kind: ProbeKind, probe: &Probe, port: u16) -> Prober {
        Prober { kind, probe: probe.clone(), port, due: Instant::now(), failures: 0 }
    }

    /// Runs the probe if it is due. Returns whether it passes, or `None` when it is not due or its failures are below
    /// the threshold.
    pub async fn run(&mut self, pod: &str, record: &mut Record) -> Result<Option<bool>> {
        if Instant::now() < self.due {
            return Ok(None);
        }
        self.due = Instant::now() + Duration::from_secs(self.probe.period_seconds);
        let url = format!("http://127.0.0.1:{}{}", self.port, self.probe.http_get.path);
        let timeout = Duration::from_secs(self.probe.timeout_seconds);
        let (passed, answer) = match http::client().get(url).timeout(timeout).send().await {
            Ok(answer) => (answer.status().as_u16() < 400, answer.status().as_str().to_owned()),
            Err(error) if error.is_timeout() => (false, "timeout".to_owned()),
            Err(_) => (false, "refused".to_owned()),
        };
        record.answer(pod, self.kind, &answer);
        self.failures = if passed { 0 } else { self.failures + 1 };
        Ok((passed || self.failures >= self.probe.failure_threshold).then_some(passed))
    }
}
