//! The generated part of docs/BENCHMARKS.md. The text outside of its marks does not change.

use std::fmt::Write;

use anyhow::{Result, ensure};

use super::numbers::{bound, number, verdict};
use super::plots::{file_name, is_drawn};
use super::table::cells;
use crate::results::{Results, Scenario};

const BEGIN: &str = "<!-- begin: written by ./dev bench -->";
const END: &str = "<!-- end: written by ./dev bench -->";

const INTRO: &str = "\
Tidings and what else one would use, on the same machine, in the same run, under the same load. Reproduce it with

```
./dev bench
```

or one scenario with `./dev bench NAME`. All servers are child processes that are known by their ports and frames only,
and one load generator speaks to all of them. Figures are medians, with the least and the most of the samples in
parentheses.
";

const LIMITS: &str = "\
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

/// The generated part of the page, with its marks; `plots` is the folder of pictures, relative to the page.
#[must_use]
pub fn page(results: &Results, plots: &str) -> String {
    let mut text = format!("{BEGIN}\n\n{INTRO}\n## Machine\n\n| what | which |\n| --- | --- |\n");
    for (what, which) in &results.machine {
        let _ = writeln!(text, "| {} | {} |", cell(what), cell(which));
    }
    if results.scenarios.iter().any(|scenario| !scenario.targets.is_empty()) {
        write_targets(&mut text, results);
    }
    for scenario in &results.scenarios {
        write_scenario(&mut text, scenario, plots);
    }
    let _ = write!(text, "\n## Limits of these figures\n\n{LIMITS}\n{END}\n");
    text
}

fn write_targets(text: &mut String, results: &Results) {
    *text += "\n## Targets\n\n| scenario | what | is | wanted | |\n| --- | --- | ---: | ---: | --- |\n";
    for scenario in &results.scenarios {
        for target in &scenario.targets {
            let said = verdict(target);
            let said = if target.is_met() { said } else { format!("**{said}**") };
            let (name, what) = (&scenario.name, cell(&target.what));
            let _ = writeln!(
                text,
                "| [{name}](#{}) | {what} | {} | {} | {said} |",
                anchor(&scenario.title),
                number(target.value),
                bound(target)
            );
        }
    }
}

fn write_scenario(text: &mut String, scenario: &Scenario, plots: &str) {
    let _ =
        write!(text, "\n## {}\n\n`./dev bench {}`\n\n{}\n\n", scenario.title, scenario.name, scenario.method);
    for (number, row) in cells(scenario).iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "| --- | --- |{}", " ---: |".repeat(row.len().saturating_sub(2)));
        }
    }
    for plot in scenario.plots.iter().filter(|plot| is_drawn(scenario, plot)) {
        let file = file_name(scenario, plot);
        let _ = write!(text, "\n![{}]({}/{file})\n", cell(&plot.title), plots.trim_end_matches('/'));
    }
    if !scenario.notes.is_empty() {
        text.push('\n');
    }
    for note in &scenario.notes {
        let _ = writeln!(text, "- {note}");
    }
}

/// Replaces the generated part of a page, or appends it.
///
/// # Errors
/// When the page has one mark without the other, or a mark twice, so that the part is ambiguous.
pub fn put_into(existing: &str, generated: &str) -> Result<String> {
    let count = |mark: &str| existing.matches(mark).count();
    match (count(BEGIN), count(END)) {
        (0, 0) if existing.trim().is_empty() => Ok(format!("# Benchmarks\n\n{generated}")),
        (0, 0) => Ok(format!("{}\n\n{generated}", existing.trim_end())),
        (1, 1) => {
            let (before, rest) = existing.split_once(BEGIN).unwrap_or_default();
            ensure!(rest.contains(END), "the page's marks are in the wrong order");
            let (_, after) = rest.split_once(END).unwrap_or_default();
            Ok(format!("{before}{}{after}", generated.trim_end()))
        }
        (begins, ends) => anyhow::bail!("the page has {begins} of {BEGIN:?} and {ends} of {END:?}"),
    }
}

/// Escapes the text of a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
