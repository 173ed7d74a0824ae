//! The program behind `./dev faults`: injects random faults under load, and checks the recorded history.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tidings_harness::faults::{FaultReport, Plan, run};
use tidings_harness::say;

/// Starts a system, injects faults under load, and checks that nothing is lost, duplicated, out of order or shown to
/// the wrong users. Exits with 1 if a check fails.
#[derive(Parser)]
#[command(name = "faults", bin_name = "./dev faults")]
struct Arguments {
    /// How long faults are injected, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the random faults; the same seed gives the same faults. Default: a random seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of runs, one after the other, with consecutive seeds from `--seed` on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Use a Redis Cluster of three masters with a replica each, with faults of its shards.
    #[arg(long)]
    redis_cluster: bool,
    /// Keep the files in a bucket, and disturb its server too. `TIDINGS_S3_SERVER` is the program, versitygw.
    #[arg(long)]
    bucket: bool,
    /// Messages per second of all users together.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Also write the reports to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run_seeds(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_seeds(arguments: &Arguments) -> Result<bool> {
    let first = arguments.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let mut reports = Vec::new();
    for seed in first..first + arguments.seeds {
        eprintln!("seed {seed}: {} s", arguments.seconds);
        let plan = Plan {
            rate: arguments.rate,
            bucket: arguments.bucket,
            ..Plan::random(seed, Duration::from_secs(arguments.seconds))
        };
        let plan = if arguments.redis_cluster { plan.on_cluster() } else { plan };
        // If a run fails before its verdict, the runs of the next seeds still happen.
        let report = run(&plan).await.unwrap_or_else(|error| FaultReport::without_verdict(seed, &error));
        print_report(&report);
        reports.push(report);
        if let Some(file) = &arguments.json {
            let json = serde_json::to_string_pretty(&reports)?;
            std::fs::write(file, json).with_context(|| format!("write {}", file.display()))?;
        }
    }
    let failed: Vec<u64> =
        reports.iter().filter(|report| !report.is_good()).map(|report| report.seed).collect();
    if !failed.is_empty() {
        say!("{} of {} seeds failed: {failed:?}", failed.len(), reports.len());
    }
    Ok(failed.is_empty())
}

fn print_report(report: &FaultReport) {
    if let Some(error) = &report.error {
        say!("seed {}: no verdict: {error}", report.seed);
        return;
    }
    for story in &report.stories {
        say!("{story}");
    }
    say!(
        "seed {}: {} faults in {:.0} s; {} stored, {} accepted ({} lost and told), {} deliveries, {} gaps ({} new \
         epochs), {} connections: {} violations",
        report.seed,
        report.faults.len(),
        report.seconds,
        report.stored,
        report.accepted,
        report.given_up,
        report.deliveries,
        report.gaps,
        report.new_epochs,
        report.connections,
        report.violations,
    );
    say!(
        "  {} answered in {:.0} s of faults, at rest {:.1} s later; changed {:?}",
        report.answered,
        report.fault_seconds,
        report.settle_seconds,
        report.changes,
    );
    say!(
        "  {} events in the feed, {} sent to the webhook, {} notified by push; {} files of messages downloaded, {} of \
         them images with previews, {} others complete",
        report.fed,
        report.webhook_events,
        report.notified,
        report.shown_files,
        report.images,
        report.unshown_files,
    );
    say!("  quiet rooms deliver again after at most (s): {}", format_longest_first(&report.quiet_seconds, 1));
    if !report.other_shards_p99_seconds.is_empty() {
        let seconds = format_longest_first(&report.other_shards_p99_seconds, 3);
        say!("  quiet rooms of other shards deliver within (p99 during the fault, s): {seconds}");
    }
    say!(
        "  at most {} bytes queued in a gateway; memory {:?}; opened {:?}; closed {:?}; strangers {:?}; broken {:?}",
        report.max_outbox_bytes,
        report.max_resident_bytes,
        report.sessions,
        report.closes,
        report.strangers,
        report.broken,
    );
}

/// Formats the kinds of faults with their times in seconds, longest first.
fn format_longest_first(seconds: &BTreeMap<String, f64>, digits: usize) -> String {
    let mut kinds: Vec<(&String, &f64)> = seconds.iter().collect();
    kinds.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let kinds = kinds.iter().map(|(kind, seconds)| format!("{kind} {seconds:.digits$}"));
    kinds.collect::<Vec<_>>().join(", ")
}
