//! Counts the instructions of the hot paths and compares them with `bench/guard.json`, or writes that file.
//! Starts private systems with the programs next to it. Exits with 1 if a count is above its bound, and with 3 if
//! counting is not possible here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tidings_bench::guard::bounds::{Bounds, Verdict};
use tidings_bench::guard::{Count, CountOptions, bounds_file, callgrind};

const ABOVE: u8 = 1;
const NOT_HERE: u8 = 3;

/// Counts the instructions of the hot paths under valgrind, and compares them with the expected numbers.
#[derive(Debug, Parser)]
#[command(name = "tidings-guard")]
struct Arguments {
    /// Only counts whose names contain this.
    filter: Option<String>,
    /// File with the expected numbers. Default: bench/guard.json.
    #[arg(long)]
    bounds: Option<PathBuf>,
    /// Write the medians of the repetitions as the new expected numbers.
    #[arg(long)]
    write: bool,
    /// Repetitions of each count.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Keep the files for callgrind_annotate in this folder.
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// Trace this share of the messages, to see the cost of tracing.
    #[arg(long)]
    trace_ratio: Option<f64>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Err(error) = can_be_counted().await {
        eprintln!("{error:#}");
        return Ok(ExitCode::from(NOT_HERE));
    }
    let path = arguments.bounds.clone().unwrap_or_else(bounds_file);
    let mut bounds = Bounds::read(&path)?;
    let mut code = ExitCode::SUCCESS;
    for count in wanted(&arguments) {
        let begun = Instant::now();
        let mut taken = Vec::new();
        for round in 0..arguments.repeat {
            taken.push(take(count, round, &arguments).await.with_context(|| count.name().to_owned())?);
        }
        // A real increase occurs in each repetition, a disturbance does not, so the count is repeated once.
        if !arguments.write && arguments.repeat == 1 && bounds.judge(count.name(), taken[0]) == Verdict::Above
        {
            println!("{}: {} instructions are too many; once more", count.name(), taken[0]);
            let again = take(count, 1, &arguments).await.with_context(|| count.name().to_owned())?;
            taken = vec![taken[0].min(again)];
        }
        taken.sort_unstable();
        let middle = taken[taken.len() / 2];
        if arguments.write {
            bounds.expect(count.name(), middle);
        }
        let verdict = bounds.judge(count.name(), middle);
        println!("{}, {} s", told(&bounds, count.name(), &taken, verdict), begun.elapsed().as_secs());
        if matches!(verdict, Verdict::Above | Verdict::Unknown) {
            code = ExitCode::from(ABOVE);
        }
    }
    if arguments.write {
        bounds.write(&path)?;
    }
    Ok(code)
}

async fn can_be_counted() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "what is expected is of x86-64");
    callgrind::is_here().await
}

fn wanted(arguments: &Arguments) -> Vec<Count> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    Count::ALL.into_iter().filter(|count| count.name().contains(filter)).collect()
}

async fn take(count: Count, round: u32, arguments: &Arguments) -> Result<u64> {
    let folder = tidings_harness::folder::Folder::new()?;
    let trace_ratio = arguments.trace_ratio;
    let Some(kept) = &arguments.profiles else {
        return count.take(&CountOptions { folder: folder.path().to_owned(), trace_ratio }).await;
    };
    let kept = kept.join(format!("{}-{round}", count.name().replace([':', ',', ' '], "-")));
    // Files of an earlier run must not count for this one.
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    std::fs::create_dir_all(&kept)?;
    count.take(&CountOptions { folder: kept.canonicalize()?, trace_ratio }).await
}

/// One line about a count.
fn told(bounds: &Bounds, name: &str, taken: &[u64], verdict: Verdict) -> String {
    let middle = taken[taken.len() / 2];
    let mut text = format!("{name}: {middle} instructions");
    if let (Some(least), Some(most)) = (taken.first(), taken.last())
        && taken.len() > 1
    {
        let spread = (most - least) as f64 / middle as f64 * 100.0;
        text += &format!(" ({least} to {most}, {spread:.1} %)");
    }
    if let Some(bound) = bounds.of(name) {
        let more = (middle as f64 / bound.instructions as f64 - 1.0) * 100.0;
        text += &format!(", {more:+.1} % of {} (room {:.0} %)", bound.instructions, bound.room * 100.0);
    }
    text += match verdict {
        Verdict::Within => "",
        Verdict::Above => ": FAILED, costs more than it may",
        Verdict::Below => ": costs less than expected; lower the expectation by `./dev guard --write`",
        Verdict::Unknown => ": FAILED, nothing is expected of it; `./dev guard --write` does",
    };
    text
}
