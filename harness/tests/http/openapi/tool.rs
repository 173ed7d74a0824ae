//! Runs schemathesis as a child process against a node, and reads its report.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::folder::Folder;
use tokio::process::Command;

/// The variable with the path of the program; `./dev test` sets it.
const PROGRAM_VARIABLE: &str = "TIDINGS_SCHEMATHESIS";
/// The tool sends several thousand requests.
const WAIT_TIMEOUT: Duration = Duration::from_secs(600);

pub struct ToolRun<'a> {
    /// The strict form of the document.
    pub document: &'a Value,
    /// The URL of the node, without a path.
    pub url: &'a str,
    pub token: &'a str,
    /// More arguments, which select operations.
    pub arguments: &'a [&'a str],
    /// Ids of objects that exist, for the parameter `id` of paths.
    pub ids: &'a [String],
}

pub struct Report(Value);

impl ToolRun<'_> {
    /// Runs the tool; fails if an answer contradicts the document.
    pub async fn run(&self) -> Result<Report> {
        let program = std::env::var_os(PROGRAM_VARIABLE).with_context(|| {
            format!(
                "{PROGRAM_VARIABLE} is not set: `./dev test openapi` installs the tool and runs this test"
            )
        })?;
        let folder = Folder::new()?;
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/openapi");
        let (document, report) = (folder.path().join("openapi.json"), folder.path().join("report.json"));
        std::fs::write(&document, self.document.to_string())?;
        let mut command = Command::new(program);
        command
            .arg("--config-file")
            .arg(here.join("schemathesis.toml"))
            .arg("run")
            .arg(&document)
            .args(["--url", self.url, "--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--no-color", "--report", "json", "--report-json-path"])
            .arg(&report)
            .args(self.arguments)
            .env("HOOKS", here.join("hooks.py"))
            .env("IDS", self.ids.join(","))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output =
            tokio::time::timeout(WAIT_TIMEOUT, command.output()).await.context("the tool did not end")??;
        let stdout = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
        let report = std::fs::read(&report).context("the tool wrote no report")?;
        Ok(Report(serde_json::from_slice(&report)?))
    }
}

impl Report {
    pub fn tested_operations(&self) -> usize {
        self.0["operations"]["tested"]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or_default()
    }

    /// Whether a request of this operation (such as `GET /v1/rooms`) succeeded. If none did, its success answers are
    /// untested.
    pub fn has_accepted(&self, operation: &str) -> bool {
        let phases = self.0["valid_rates"][operation].as_object();
        phases.into_iter().flatten().any(|(_, rate)| rate["accepted"].as_u64() > Some(0))
    }
}
