//! Records which alerts Prometheus fires during each fault, with the value of their expression.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::prometheus::Prometheus;

/// How long an alert may take to fire, or to end.
const WAIT_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

struct FiredAlert {
    fault: String,
    alert: String,
    severity: String,
    value: String,
    description: String,
    after: Duration,
}

/// All faults so far, and the alerts that fired.
pub struct AlertRecorder<'a> {
    prometheus: &'a Prometheus,
    fault: String,
    since: Instant,
    firing: BTreeSet<String>,
    seen: Vec<FiredAlert>,
    missed: Vec<String>,
}

impl<'a> AlertRecorder<'a> {
    pub fn of(prometheus: &'a Prometheus) -> Self {
        let (fault, since) = (String::new(), Instant::now());
        AlertRecorder {
            prometheus,
            fault,
            since,
            firing: BTreeSet::new(),
            seen: Vec::new(),
            missed: Vec::new(),
        }
    }

    /// Begins a fault: the alerts that fire from now on are recorded for it.
    pub fn set_current_fault(&mut self, name: &str) {
        println!("\n{name}");
        (self.fault, self.since) = (name.to_owned(), Instant::now());
    }

    /// Records the alerts that have begun to fire.
    pub async fn poll(&mut self) -> Result<()> {
        let rules = self.prometheus.rules().await?;
        let mut firing = BTreeSet::new();
        for rule in rules.iter().filter(|rule| rule["state"] == "firing") {
            for alert in rule["alerts"].as_array().into_iter().flatten().filter(|a| a["state"] == "firing") {
                let name = text_or_empty(&rule["name"]);
                if !self.firing.contains(&name) && firing.insert(name.clone()) {
                    self.record(name, alert);
                }
                firing.insert(text_or_empty(&rule["name"]));
            }
        }
        self.firing = firing;
        Ok(())
    }

    fn record(&mut self, alert: String, details: &Value) {
        let seen = FiredAlert {
            fault: self.fault.clone(),
            alert,
            severity: text_or_empty(&details["labels"]["severity"]),
            value: text_or_empty(&details["value"]),
            description: text_or_empty(&details["annotations"]["description"]),
            after: self.since.elapsed(),
        };
        println!("  {:>3} s  {} = {}: {}", seen.after.as_secs(), seen.alert, seen.value, seen.description);
        self.seen.push(seen);
    }

    /// Waits until all of these alerts fire or have fired since the fault began. Records those that do not fire in time
    /// as missed.
    pub async fn until_firing(&mut self, alerts: &[&str]) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.poll().await?;
            let fired = |alert: &&str| {
                self.firing.contains(*alert)
                    || self.seen.iter().any(|s| s.alert == **alert && s.fault == self.fault)
            };
            let missing: Vec<_> = alerts.iter().filter(|alert| !fired(alert)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > WAIT_TIMEOUT {
                self.missed.extend(missing.iter().map(|alert| format!("{}: {alert}", self.fault)));
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until none of these alerts fires any more. Records those that still fire as missed.
    pub async fn until_resolved(&mut self, alerts: &[&str]) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.poll().await?;
            let left: Vec<_> = alerts.iter().filter(|alert| self.firing.contains(**alert)).collect();
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > WAIT_TIMEOUT {
                self.missed.extend(left.iter().map(|alert| format!("{}: {alert} goes on", self.fault)));
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Alerts that did not fire, or did not end.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    pub fn table(&self) -> String {
        let mut table = String::from("\n| fault | alert | severity | after | value | description |\n");
        table.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for FiredAlert { fault, alert, severity, value, description, after } in &self.seen {
            let after = after.as_secs();
            // Writing to memory cannot fail.
            let _ =
                writeln!(table, "| {fault} | {alert} | {severity} | {after} s | {value} | {description} |");
        }
        table
    }
}

fn text_or_empty(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
