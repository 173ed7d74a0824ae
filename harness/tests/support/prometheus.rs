//! A real Prometheus for one test: Debian's program as a child process, with the shipped rules and the shipped scrape
//! configuration, whose targets are replaced. It uses only its folder and its child; dropping the value ends the child.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tidings_harness::{Stack, daemon::Daemon, http, ports};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Regex of the alerts on latency. Tests that assert that no alert fires exclude them, because a machine with too few
/// cores delays messages by itself.
pub const LATENCY_ALERTS: &str = "TidingsDeliveryLate|TidingsStoringLate";

/// One running Prometheus.
pub struct Prometheus {
    // Dropped first, so that the child ends before its folder is deleted.
    daemon: Daemon,
    folder: PathBuf,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the nodes of `stack` each second. `changed` maps the text of each shipped rule
    /// file to the text to use.
    ///
    /// # Errors
    /// When the program is missing or does not become ready; contains its output.
    pub async fn start(stack: &Stack, changed: impl Fn(String) -> String) -> Result<Prometheus> {
        let program = prometheus_program()?;
        let port = ports::free()?;
        let folder = stack.folder().join("prometheus");
        for part in ["rules", "targets"] {
            fs::create_dir_all(folder.join(part))?;
        }
        for entry in fs::read_dir(shipped_folder().join("rules"))? {
            let entry = entry?;
            let text = changed(fs::read_to_string(entry.path())?);
            fs::write(folder.join("rules").join(entry.file_name()), text)?;
        }
        fs::write(folder.join("prometheus.yml"), scrape_config(stack, port)?)?;
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
        daemon.until_ready(WAIT_TIMEOUT, ready).await?;
        Ok(Prometheus { daemon, folder, url: url.clone(), client })
    }

    /// Its address, without a scheme.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Changes or creates a configuration file and reloads the configuration.
    ///
    /// # Errors
    /// When the folder does not exist or Prometheus does not run.
    pub fn configure(&self, file: &str, changed: impl Fn(String) -> String) -> Result<()> {
        let path = self.folder.join(file);
        let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        fs::write(path, changed(text))?;
        self.daemon.signal(Signal::SIGHUP)
    }

    /// Adds a target to a job that has none, and reloads the configuration.
    ///
    /// # Errors
    /// When there is no such job, or it has targets.
    pub fn add_target(&self, job: &str, address: &str) -> Result<()> {
        let list = format!("job_name: {job}\n    static_configs:\n      - targets:\n");
        let text = fs::read_to_string(self.folder.join("prometheus.yml"))?;
        ensure!(text.contains(&format!("{list}\n")), "{job} is no job without targets:\n{text}");
        self.configure("prometheus.yml", |text| {
            text.replace(&list, &format!("{list}          - {address}\n"))
        })
    }

    /// Adds a target to a job, before its others, and reloads the configuration.
    ///
    /// # Errors
    /// As [`Prometheus::configure`].
    pub fn add_further_target(&self, job: &str, address: &str) -> Result<()> {
        let list = format!("job_name: {job}\n    static_configs:\n      - targets:\n");
        self.configure("prometheus.yml", |text| {
            text.replace(&list, &format!("{list}          - {address}\n"))
        })
    }

    /// Sends alerts to the Alertmanager at this address.
    ///
    /// # Errors
    /// As [`Prometheus::configure`].
    pub fn send_alerts_to(&self, address: &str) -> Result<()> {
        let list = "    - static_configs:\n        - targets:\n";
        self.configure("prometheus.yml", |text| {
            text.replace(list, &format!("{list}            - {address}\n"))
        })
    }

    /// Scrapes and evaluates as often as the shipped configuration does.
    ///
    /// # Errors
    /// As [`Prometheus::configure`].
    pub fn use_shipped_intervals(&self) -> Result<()> {
        self.configure("prometheus.yml", |text| {
            let intervals = [("scrape_interval", 15), ("scrape_timeout", 10), ("evaluation_interval", 15)];
            intervals.iter().fold(text, |text, (name, seconds)| {
                text.replace(&format!("{name}: 1s"), &format!("{name}: {seconds}s"))
            })
        })
    }

    /// Calls the HTTP API; returns the field `data` of its answer.
    ///
    /// # Errors
    /// When the API answers with an error; contains its text.
    pub async fn get_api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let request = self.client.get(format!("{}/api/v1/{path}", self.url)).query(parameters);
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["status"] == "success", "{path} {parameters:?}: {}", answer["error"]);
        Ok(answer["data"].clone())
    }

    /// The current series of an expression.
    ///
    /// # Errors
    /// As [`Prometheus::get_api`].
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.get_api("query", &[("query", expression)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// All rules, as the API reports them.
    ///
    /// # Errors
    /// As [`Prometheus::get_api`].
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.get_api("rules", &[]).await?;
        let groups = data["groups"].as_array().context("no groups")?;
        Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }
}

pub fn shipped_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("prometheus")
}

fn prometheus_program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|p| p.is_file());
    found.context("prometheus is not installed: install Debian's package `prometheus` (./dev test does so)")
}

/// The shipped configuration with the nodes of the stack as its targets, scraped each second.
fn scrape_config(stack: &Stack, own: u16) -> Result<String> {
    let mut text = fs::read_to_string(shipped_folder().join("prometheus.yml"))?;
    let gateways = stack.gateways().iter().zip(["gateway-1:18080", "gateway-2:18080"]);
    let mut targets: Vec<_> = gateways.map(|(node, target)| (target, vec![node.ports().admin])).collect();
    // One target for each persistence node; the shipped file has a single target.
    let persistence = stack.persistence_nodes().iter().map(|node| node.ports().admin);
    targets.push(("persistence:18081", persistence.collect()));
    targets.push(("localhost:9090", vec![own]));
    // These jobs get no targets, because most tests start no load balancer, exporter or probe.
    targets.push(("haproxy:8405", Vec::new()));
    targets.push(("postgres-exporter:9187", Vec::new()));
    targets.push(("probe:8090", Vec::new()));
    targets.push(("backup:9854", Vec::new()));
    // Both the job and the receiver of alerts.
    targets.push(("alertmanager:9093", Vec::new()));
    for (target, ports) in targets {
        let line = format!("          - {target}\n");
        ensure!(text.contains(&line), "prometheus.yml does not scrape {target}");
        let lines: String = ports.iter().map(|port| format!("          - 127.0.0.1:{port}\n")).collect();
        text = text.replace(&line, &lines);
    }
    // Programs beside the services are found by their names in Compose's DNS.
    for (name, port) in [("webhooks", 18083), ("files", 18084), ("push", 18085)] {
        let by_name =
            format!("    dns_sd_configs:\n      - names: [{name}]\n        type: A\n        port: {port}\n");
        ensure!(text.contains(&by_name), "prometheus.yml does not look for {name}");
        text = text.replace(&by_name, "    static_configs:\n      - targets:\n");
    }
    for interval in ["scrape_interval: 15s", "scrape_timeout: 10s", "evaluation_interval: 15s"] {
        let (name, _) = interval.split_once(' ').context("no value")?;
        ensure!(text.contains(interval), "prometheus.yml does not contain {interval}");
        text = text.replace(interval, &format!("{name} 1s"));
    }
    Ok(text)
}
