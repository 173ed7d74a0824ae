//! schemathesis as a child: asks a node what its document allows and forbids, and tells what came of it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::folder::Folder;
use tokio::process::Command;

/// Where `./dev test` has put the program.
const PROGRAM: &str = "TIDINGS_SCHEMATHESIS";
/// It asks some thousand questions.
const PATIENCE: Duration = Duration::from_secs(600);

/// One round of questions.
pub struct Round<'a> {
    /// As it is held against the answers.
    pub document: &'a Value,
    /// The node, without a path.
    pub url: &'a str,
    /// Who asks.
    pub token: &'a str,
    /// More arguments: what is asked.
    pub arguments: &'a [&'a str],
}

/// What came of a round.
pub struct Report(Value);

impl Round<'_> {
    /// Asks, and fails when anything was answered otherwise than told.
    pub async fn ask(&self) -> Result<Report> {
        let program = std::env::var_os(PROGRAM).with_context(|| {
            format!("there is no {PROGRAM}: `./dev test openapi` installs the tool and runs this test")
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
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.context("it did not end")??;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        let report = std::fs::read(&report).context("it wrote no report")?;
        Ok(Report(serde_json::from_slice(&report)?))
    }
}

impl Report {
    /// How many operations were asked of.
    pub fn tested(&self) -> usize {
        self.0["operations"]["tested"]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or_default()
    }

    /// Whether one request of this operation (`GET /v1/rooms`) was carried out. If not, nothing is known of its good
    /// answers.
    pub fn accepted(&self, operation: &str) -> bool {
        let phases = self.0["valid_rates"][operation].as_object();
        phases.into_iter().flatten().any(|(_, rate)| rate["accepted"].as_u64() > Some(0))
    }
}
