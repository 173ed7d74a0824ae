//! Names of metrics in expressions, and metrics that do not exist before certain events.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::prometheus::shipped_folder;

/// The prefixes of all metric names in rules and dashboards. deploy/tools/watch/expressions.py checks that there are no
/// others.
const METRIC_PREFIXES: [&str; 13] = [
    "tidings_",
    "process_",
    "haproxy_",
    "redis_",
    "pg_",
    "cnpg_",
    "prometheus_",
    "alertmanager_",
    "probe_",
    "kubelet_",
    "node_",
    "kube_",
    "barman_",
];

/// The groups of late-metrics.json whose programs run in the test.
const PRESENT: [&str; 3] = ["haproxy", "redis_exporter", "postgres_exporter"];

/// Metrics that exist only in programs outside this test, each with its source.
pub fn late_metrics() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(shipped_folder().join("late-metrics.json"))?;
    let late: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&text)?;
    Ok(late
        .into_iter()
        .filter(|(group, _)| !PRESENT.contains(&group.as_str()))
        .flat_map(|(_, names)| names)
        .collect())
}

/// The metric names in an expression, including those of recording rules (with a colon).
pub fn metric_names(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // Every other part is a text between quotation marks.
    for part in expression.split('"').step_by(2) {
        let words = part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let named = words.filter(|word| {
            *word == "ALERTS"
                || word.contains(':') && word.contains("tidings")
                || METRIC_PREFIXES.iter().any(|b| word.starts_with(b))
        });
        names.extend(named.map(ToOwned::to_owned));
    }
    names
}

/// Removes the intervals of rule groups, so that all rules are evaluated each second. Then a sample stands for 1 s
/// instead of 30 s.
pub fn without_intervals(rules: &str) -> String {
    let kept = rules.lines().filter(|line| !line.starts_with("    interval: "));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    kept.replace("30 * sum_over_time(", "1 * sum_over_time(")
}
