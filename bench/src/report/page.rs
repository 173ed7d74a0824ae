//! The generated part of docs/BENCHMARKS.md. Two marks enclose this part; the text outside of the marks does not
//! change.

use std::fmt::Write;

use anyhow::{Result, ensure};

use super::numbers::{format_number, limit_text, target_result};
use super::plots::{file_name, has_bars};
use super::table::table_cells;
use crate::results::{Results, Scenario};

const BEGIN_MARK: &str = "<!-- begin: written by ./dev bench -->";
const END_MARK: &str = "<!-- end: written by ./dev bench -->";

const INTRO_TEXT: &str = "\
Tidings and what else one would use, on the same machine, in the same run, under the same load. Reproduce it with

```
./dev bench
```

or one scenario with `./dev bench NAME`. All servers are child processes that are known by their ports and frames only,
and one load generator speaks to all of them. Figures are medians, with the least and the most of the samples in
parentheses.
";

const LIMITS_TEXT: &str = "\
- **One machine.** Its few cores are shared by the servers, their stores and the load generator. What is compared is the
  work that a server does for the same load; a machine with more cores would show other maxima.
- **Loopback.** No network is between them: no loss, no delay, no interrupts of a network card.
- **Samples.** Each figure is measured a few times; the median and the range of these samples are told, and no
  confidence is claimed beyond that. Servers are measured one after the other, in `latency` in turn: a slow minute of the
  machine may hit one of them.
- **Latencies** count from the moment when a message or a request was due by a fixed schedule, not from when it could be
  sent: a server that stands still makes all that was due meanwhile late (coordinated omission is corrected).
- **CPU time** is what the scheduler has counted for a server's threads and children (`/proc/PID/task/TID/schedstat`),
  in nanoseconds; that of children that have ended comes in ticks. Work that the kernel does outside of them, such as interrupts, is in none of the figures.
- **Memory** is resident memory; pages that several processes share count once for each.
- **Not compared:** features, clients, behaviour under faults ([GUARANTEES.md](GUARANTEES.md) is about ours), hosted
  services, anything over TLS, clusters of several machines, and settings that an expert of another server would choose.
";

/// Generates this part of the page, with its marks. `plots` is the folder of the pictures, relative to the page.
#[must_use]
pub fn generated_part(results: &Results, plots: &str) -> String {
    let mut text = format!("{BEGIN_MARK}\n\n{INTRO_TEXT}\n## Machine\n\n| what | which |\n| --- | --- |\n");
    for (what, which) in &results.machine {
        let _ = writeln!(text, "| {} | {} |", escape_cell(what), escape_cell(which));
    }
    if results.scenarios.iter().any(|scenario| !scenario.targets.is_empty()) {
        write_targets(&mut text, results);
    }
    for scenario in &results.scenarios {
        write_scenario(&mut text, scenario, plots);
    }
    let _ = write!(text, "\n## Limits of these figures\n\n{LIMITS_TEXT}\n{END_MARK}\n");
    text
}

fn write_targets(text: &mut String, results: &Results) {
    *text += "\n## Targets\n\n| scenario | what | is | wanted | |\n| --- | --- | ---: | ---: | --- |\n";
    for scenario in &results.scenarios {
        for target in &scenario.targets {
            let result = target_result(target);
            let result = if target.is_met() { result } else { format!("**{result}**") };
            let (name, what) = (&scenario.name, escape_cell(&target.what));
            let _ = writeln!(
                text,
                "| [{name}](#{}) | {what} | {} | {} | {result} |",
                heading_anchor(&scenario.title),
                format_number(target.value),
                limit_text(target)
            );
        }
    }
}

fn write_scenario(text: &mut String, scenario: &Scenario, plots: &str) {
    let _ =
        write!(text, "\n## {}\n\n`./dev bench {}`\n\n{}\n\n", scenario.title, scenario.name, scenario.method);
    for (number, row) in table_cells(scenario).iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|text| escape_cell(text)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "| --- | --- |{}", " ---: |".repeat(row.len().saturating_sub(2)));
        }
    }
    for plot in scenario.plots.iter().filter(|plot| has_bars(scenario, plot)) {
        let file = file_name(scenario, plot);
        let _ = write!(text, "\n![{}]({}/{file})\n", escape_cell(&plot.title), plots.trim_end_matches('/'));
    }
    if !scenario.notes.is_empty() {
        text.push('\n');
    }
    for note in &scenario.notes {
        let _ = writeln!(text, "- {note}");
    }
}

/// Replaces the generated part of the page `existing`, or appends it if the page has none.
///
/// # Errors
/// When the page has only one of the marks, or has a mark twice.
pub fn replace_generated_part(existing: &str, generated: &str) -> Result<String> {
    let count = |mark: &str| existing.matches(mark).count();
    match (count(BEGIN_MARK), count(END_MARK)) {
        (0, 0) if existing.trim().is_empty() => Ok(format!("# Benchmarks\n\n{generated}")),
        (0, 0) => Ok(format!("{}\n\n{generated}", existing.trim_end())),
        (1, 1) => {
            let (before, rest) = existing.split_once(BEGIN_MARK).unwrap_or_default();
            ensure!(rest.contains(END_MARK), "the page's marks are in the wrong order");
            let (_, after) = rest.split_once(END_MARK).unwrap_or_default();
            Ok(format!("{before}{}{after}", generated.trim_end()))
        }
        (begins, ends) => anyhow::bail!("the page has {begins} of {BEGIN_MARK:?} and {ends} of {END_MARK:?}"),
    }
}

/// Escapes the text of a table cell.
fn escape_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The anchor that GitHub gives to a heading.
fn heading_anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
