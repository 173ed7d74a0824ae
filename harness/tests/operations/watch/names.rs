//! Names of metrics in expressions, and those that nobody tells before something happens.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::prometheus::shipped;

/// What a name of a metric that rules and dashboards use begins with. deploy/tools/watch/expressions.py holds that
/// there are no others.
const BEGINNINGS: [&str; 6] = ["tidings_", "process_", "haproxy_", "redis_", "pg_", "prometheus_"];

/// Names that are told only after an event, or by programs that are not here, with the reason.
pub fn late() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(shipped().join("late-metrics.json"))?;
    let late: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&text)?;
    Ok(late.into_values().flatten().collect())
}

/// The names of metrics that an expression asks for; those of recording rules (with a colon) among them.
pub fn of(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // Every other part is a text between quotation marks.
    for part in expression.split('"').step_by(2) {
        let words = part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let named = words.filter(|word| {
            word.contains(':') && word.contains("tidings") || BEGINNINGS.iter().any(|b| word.starts_with(b))
        });
        names.extend(named.map(ToOwned::to_owned));
    }
    names
}

/// Rules whose groups are worked out as often as all others, each second: what a sample stands for, accordingly.
pub fn without_intervals(rules: &str) -> String {
    let kept = rules.lines().filter(|line| !line.starts_with("    interval: "));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    kept.replace("30 * sum_over_time(", "1 * sum_over_time(")
}
