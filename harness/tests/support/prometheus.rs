//! A real Prometheus for one test: Debian's program as a child, with the rules that are shipped and the scrape
//! configuration that is shipped, its targets replaced. Touches its folder and its child; ends with its value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tidings_harness::{Stack, daemon::Daemon, http, ports};

const PATIENCE: Duration = Duration::from_secs(60);

/// Alerts on how long something takes, as a matcher has them. A machine with too few cores for all of its work makes
/// messages late by itself: who says that nothing fires leaves these out.
pub const OF_LATENESS: &str = "TidingsDeliveryLate|TidingsStoringLate";

/// One running Prometheus.
pub struct Prometheus {
    // Ends the child before its folder goes.
    daemon: Daemon,
    folder: PathBuf,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one that asks the nodes of `stack` each second. `changed` gives the text of each file of rules as it
    /// shall be, by what is shipped.
    ///
    /// # Errors
    /// When the program is missing, or does not come up; with what it said.
    pub async fn start(stack: &Stack, changed: impl Fn(String) -> String) -> Result<Prometheus> {
        let program = program()?;
        let port = ports::free()?;
        let folder = stack.folder().join("prometheus");
        for part in ["rules", "targets"] {
            fs::create_dir_all(folder.join(part))?;
        }
        for entry in fs::read_dir(shipped().join("rules"))? {
            let entry = entry?;
            let text = changed(fs::read_to_string(entry.path())?);
            fs::write(folder.join("rules").join(entry.file_name()), text)?;
        }
        fs::write(folder.join("prometheus.yml"), scrapes(stack, port)?)?;
        let (log, data) = (stack.folder().join("prometheus.log"), folder.join("data"));
        let configuration = folder.join("prometheus.yml");
        let daemon = Daemon::new("prometheus", log, Signal::SIGKILL, move || {
            let mut command = Command::new(&program);
            command.arg(format!("--config.file={}", configuration.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command
        });
        daemon.start()?;
        let (url, client) = (format!("http://127.0.0.1:{port}"), http::client());
        let ready = || async {
            let answer = client.get(format!("{url}/-/ready")).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        daemon.until_ready(PATIENCE, ready).await?;
        Ok(Prometheus { daemon, folder, url: url.clone(), client })
    }

    /// Where it answers, without a scheme.
    pub fn place(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Changes a file of its configuration, or makes one, and has it read anew.
    ///
    /// # Errors
    /// When there is no such folder, or it does not run.
    pub fn configure(&self, file: &str, changed: impl Fn(String) -> String) -> Result<()> {
        let path = self.folder.join(file);
        let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        fs::write(path, changed(text))?;
        self.daemon.signal(Signal::SIGHUP)
    }

    /// What the API answers, as `data`.
    ///
    /// # Errors
    /// When it answers with an error; with its text.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let request = self.client.get(format!("{}/api/v1/{path}", self.url)).query(parameters);
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["status"] == "success", "{path} {parameters:?}: {}", answer["error"]);
        Ok(answer["data"].clone())
    }

    /// The series that an expression gives now.
    ///
    /// # Errors
    /// As [`Prometheus::ask`].
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.ask("query", &[("query", expression)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// All rules, as the API tells them.
    ///
    /// # Errors
    /// As [`Prometheus::ask`].
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.ask("rules", &[]).await?;
        let groups = data["groups"].as_array().context("no groups")?;
        Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }
}

/// The folder of what is shipped for Prometheus.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("prometheus")
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|p| p.is_file());
    found.context(
        "there is no prometheus on this machine: install Debian's package `prometheus` (./dev test does)",
    )
}

/// The shipped configuration with our nodes for its targets, asked each second.
fn scrapes(stack: &Stack, own: u16) -> Result<String> {
    let mut text = fs::read_to_string(shipped().join("prometheus.yml"))?;
    let gateways = stack.gateways().iter().zip(["gateway-1:18080", "gateway-2:18080"]);
    let mut targets: Vec<_> = gateways.map(|(node, target)| (target, vec![node.ports().admin])).collect();
    // As many as there are, where a deployment has one.
    let persistence = stack.persistence_nodes().iter().map(|node| node.ports().admin);
    targets.push(("persistence:18081", persistence.collect()));
    targets.push(("localhost:9090", vec![own]));
    // A job without targets: most tests have no load balancer.
    targets.push(("haproxy:8405", Vec::new()));
    for (target, ports) in targets {
        let line = format!("          - {target}\n");
        ensure!(text.contains(&line), "prometheus.yml does not ask {target}");
        let lines: String = ports.iter().map(|port| format!("          - 127.0.0.1:{port}\n")).collect();
        text = text.replace(&line, &lines);
    }
    for interval in ["scrape_interval: 15s", "scrape_timeout: 10s", "evaluation_interval: 15s"] {
        let (name, _) = interval.split_once(' ').context("no value")?;
        ensure!(text.contains(interval), "prometheus.yml does not say {interval}");
        text = text.replace(interval, &format!("{name} 1s"));
    }
    Ok(text)
}
