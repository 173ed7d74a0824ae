//! Counts the instructions of the hot paths and compares them with `bench/guard.json`, or writes this file.
//! Starts private systems with the programs next to this one. Exits with 1 if a count is above its bound or has no
//! bound, and with 3 if counting is not possible on this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tidings_bench::guard::bounds::{Bounds, Verdict};
use tidings_bench::guard::{CountOptions, CountedOperation, append_partitions, bounds_file, callgrind};

const EXIT_ABOVE_BOUND: u8 = 1;
const EXIT_CANNOT_COUNT: u8 = 3;

/// Counts the instructions of the hot paths under valgrind, and compares them with the expected numbers.
#[derive(Debug, Parser)]
#[command(name = "tidings-guard")]
struct Arguments {
    /// Run only the counts whose names contain this text.
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
    /// Trace this share of the messages (0 to 1), to see the cost of tracing.
    #[arg(long)]
    trace_ratio: Option<f64>,
    /// Only count the instructions of Redis for appends to many partitions, and print them. They have no expected
    /// numbers.
    #[arg(long)]
    append_partitions: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Err(error) = check_supported().await {
        eprintln!("{error:#}");
        return Ok(ExitCode::from(EXIT_CANNOT_COUNT));
    }
    if arguments.append_partitions {
        let folder = tidings_harness::folder::Folder::new()?;
        print!("{}", append_partitions::report(folder.path()).await?);
        return Ok(ExitCode::SUCCESS);
    }
    let path = arguments.bounds.clone().unwrap_or_else(bounds_file);
    let mut bounds = Bounds::read(&path)?;
    let mut code = ExitCode::SUCCESS;
    for count in selected_operations(&arguments) {
        let begun = Instant::now();
        let mut results = Vec::new();
        for round in 0..arguments.repeat {
            results.push(run_count(count, round, &arguments).await.with_context(|| count.name().to_owned())?);
        }
        // Repeats the count once: a real increase occurs again, and a disturbance by the machine usually does not.
        if !arguments.write
            && arguments.repeat == 1
            && bounds.compare(count.name(), results[0]) == Verdict::Above
        {
            println!("{}: {} instructions are too many; once more", count.name(), results[0]);
            let again = run_count(count, 1, &arguments).await.with_context(|| count.name().to_owned())?;
            results = vec![results[0].min(again)];
        }
        results.sort_unstable();
        let median = results[results.len() / 2];
        if arguments.write {
            bounds.set_expected(count.name(), median);
        }
        let verdict = bounds.compare(count.name(), median);
        println!(
            "{}, {} s",
            report_line(&bounds, count.name(), &results, verdict),
            begun.elapsed().as_secs()
        );
        if matches!(verdict, Verdict::Above | Verdict::Unknown) {
            code = ExitCode::from(EXIT_ABOVE_BOUND);
        }
    }
    if arguments.write {
        bounds.write(&path)?;
    }
    Ok(code)
}

async fn check_supported() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "what is expected is of x86-64");
    callgrind::check_available().await
}

fn selected_operations(arguments: &Arguments) -> Vec<CountedOperation> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    CountedOperation::ALL.into_iter().filter(|count| count.name().contains(filter)).collect()
}

async fn run_count(count: CountedOperation, round: u32, arguments: &Arguments) -> Result<u64> {
    let folder = tidings_harness::folder::Folder::new()?;
    let trace_ratio = arguments.trace_ratio;
    let Some(profile_folder) = &arguments.profiles else {
        return count.measure(&CountOptions { folder: folder.path().to_owned(), trace_ratio }).await;
    };
    let profile_folder =
        profile_folder.join(format!("{}-{round}", count.name().replace([':', ',', ' '], "-")));
    // Removes the files of an earlier run, because their numbers would be taken for those of this run.
    if profile_folder.exists() {
        std::fs::remove_dir_all(&profile_folder)?;
    }
    std::fs::create_dir_all(&profile_folder)?;
    count.measure(&CountOptions { folder: profile_folder.canonicalize()?, trace_ratio }).await
}

/// The report line of a count.
fn report_line(bounds: &Bounds, name: &str, results: &[u64], verdict: Verdict) -> String {
    let median = results[results.len() / 2];
    let mut text = format!("{name}: {median} instructions");
    if let (Some(least), Some(most)) = (results.first(), results.last())
        && results.len() > 1
    {
        let spread = (most - least) as f64 / median as f64 * 100.0;
        text += &format!(" ({least} to {most}, {spread:.1} %)");
    }
    if let Some(bound) = bounds.get(name) {
        let percent_above_bound = (median as f64 / bound.instructions as f64 - 1.0) * 100.0;
        text += &format!(
            ", {percent_above_bound:+.1} % of {} (room {:.0} %)",
            bound.instructions,
            bound.room * 100.0
        );
    }
    text += match verdict {
        Verdict::Within => "",
        Verdict::Above => ": FAILED, costs more than it may",
        Verdict::Below => ": costs less than expected; lower the expectation by `./dev guard --write`",
        Verdict::Unknown => ": FAILED, nothing is expected of it; `./dev guard --write` does",
    };
    text
}
