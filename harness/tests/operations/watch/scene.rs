//! What fires while a fault lasts: alerts as Prometheus tells them, with the value of their expression.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::prometheus::Prometheus;

/// How long an alert may take to fire, or to end.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

struct Seen {
    fault: String,
    alert: String,
    severity: String,
    value: String,
    description: String,
    after: Duration,
}

/// All faults so far, and what fired.
pub struct Scene<'a> {
    prometheus: &'a Prometheus,
    fault: String,
    since: Instant,
    firing: BTreeSet<String>,
    seen: Vec<Seen>,
    missed: Vec<String>,
}

impl<'a> Scene<'a> {
    /// Before the first fault.
    pub fn of(prometheus: &'a Prometheus) -> Self {
        let (fault, since) = (String::new(), Instant::now());
        Scene { prometheus, fault, since, firing: BTreeSet::new(), seen: Vec::new(), missed: Vec::new() }
    }

    /// From now on this is the matter.
    pub fn fault(&mut self, name: &str) {
        println!("\n{name}");
        (self.fault, self.since) = (name.to_owned(), Instant::now());
    }

    /// Notes what fires now and did not before.
    pub async fn look(&mut self) -> Result<()> {
        let rules = self.prometheus.rules().await?;
        let mut firing = BTreeSet::new();
        for rule in rules.iter().filter(|rule| rule["state"] == "firing") {
            for alert in rule["alerts"].as_array().into_iter().flatten().filter(|a| a["state"] == "firing") {
                let name = text(&rule["name"]);
                if !self.firing.contains(&name) && firing.insert(name.clone()) {
                    self.note(name, alert);
                }
                firing.insert(text(&rule["name"]));
            }
        }
        self.firing = firing;
        Ok(())
    }

    fn note(&mut self, alert: String, told: &Value) {
        let seen = Seen {
            fault: self.fault.clone(),
            alert,
            severity: text(&told["labels"]["severity"]),
            value: text(&told["value"]),
            description: text(&told["annotations"]["description"]),
            after: self.since.elapsed(),
        };
        println!("  {:>3} s  {} = {}: {}", seen.after.as_secs(), seen.alert, seen.value, seen.description);
        self.seen.push(seen);
    }

    /// Waits until all of these fire, or did since the fault began; who does not is noted.
    pub async fn until(&mut self, alerts: &[&str]) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.look().await?;
            let fired = |alert: &&str| {
                self.firing.contains(*alert)
                    || self.seen.iter().any(|s| s.alert == **alert && s.fault == self.fault)
            };
            let missing: Vec<_> = alerts.iter().filter(|alert| !fired(alert)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                self.missed.extend(missing.iter().map(|alert| format!("{}: {alert}", self.fault)));
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Waits until none of these fires any more; who goes on is noted.
    pub async fn calm(&mut self, alerts: &[&str]) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.look().await?;
            let left: Vec<_> = alerts.iter().filter(|alert| self.firing.contains(**alert)).collect();
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                self.missed.extend(left.iter().map(|alert| format!("{}: {alert} goes on", self.fault)));
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Alerts that did not fire, or did not end.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    /// All that fired, as a table.
    pub fn table(&self) -> String {
        let mut table = String::from("\n| fault | alert | severity | after | value | what it said |\n");
        table.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for Seen { fault, alert, severity, value, description, after } in &self.seen {
            let after = after.as_secs();
            // Writing to memory cannot fail.
            let _ =
                writeln!(table, "| {fault} | {alert} | {severity} | {after} s | {value} | {description} |");
        }
        table
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
