//! The expressions of the shipped dashboards, with Grafana's variables replaced: all instances and short ranges.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;
use tidings_harness::node;

use crate::prometheus::shipped_folder;

/// The outcome of the build. The repository has only the sources of the dashboards.
static BUILT: LazyLock<Result<(), String>> = LazyLock::new(|| build().map_err(|error| format!("{error:#}")));

fn build() -> Result<()> {
    let program = node::program("tidings-gateway")?;
    let tools = program.parent().and_then(Path::parent).context("no target folder")?.join("tools");
    let mut command = Command::new(shipped_folder().with_file_name("tools").join("watch.sh"));
    let output = command.arg("build").env("TIDINGS_TOOLS", tools).output()?;
    ensure!(output.status.success(), "watch.sh build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Each expression with its place: dashboard, panel and letter.
pub fn expressions() -> Result<Vec<(String, String)>> {
    BUILT.clone().map_err(Error::msg)?;
    let folder = shipped_folder().with_file_name("grafana").join("dashboards");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        let title = dashboard["title"].as_str().context("a dashboard without a title")?;
        for panel in dashboard["panels"].as_array().context("no panels")? {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().context("a target without an expression")?;
                let letter = target["refId"].as_str().context("a target without a letter")?;
                let place = format!("{title} / {} {letter}", panel["title"].as_str().context("no title")?);
                found.push((place, replace_variables(expression)));
            }
        }
    }
    Ok(found)
}

fn replace_variables(expression: &str) -> String {
    let expression = expression.replace("$__rate_interval", "30s").replace("$__range", "5m");
    expression.replace("$instance", ".*")
}

/// The result of an expression, in one line.
pub fn one_line(found: &[Value]) -> String {
    let shown = found.iter().take(4).map(|series| {
        let labels = series["metric"].as_object().into_iter().flatten();
        let labels = labels.filter(|(name, _)| !["__name__", "job"].contains(&name.as_str()));
        let labels: Vec<String> =
            labels.map(|(_, value)| value.as_str().unwrap_or_default().to_owned()).collect();
        format!("{} {}", labels.join(","), series["value"][1].as_str().unwrap_or_default())
    });
    let more = if found.len() > 4 { format!(" and {} more", found.len() - 4) } else { String::new() };
    format!("{}{more}", shown.collect::<Vec<_>>().join("; "))
}
