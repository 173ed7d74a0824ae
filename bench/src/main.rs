//! `tidings-bench`: runs scenarios and reports the figures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidings_bench::machine::collect_environment;
use tidings_bench::peers::install;
use tidings_bench::report;
use tidings_bench::results::{Results, Scenario};
use tidings_bench::scenario::subject::Subject;
use tidings_bench::scenario::{
    Scale, Sizes, cold_join, cost, fanout, feed, history, idle, latency, mixed, neighbours, restart, search,
    shards, slow, small_rooms, stored, storm, telemetry,
};

/// Measures Tidings and alternatives side by side.
#[derive(Debug, Parser)]
#[command(name = "./dev bench")]
struct Arguments {
    /// Scenarios. Default: all.
    names: Vec<ScenarioName>,
    /// After each scenario, stores the run in this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Folder for pictures.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Page whose generated part is replaced; it links to the pictures.
    #[arg(long, requires = "plot")]
    page: Option<PathBuf>,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Small and short, to check that everything works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// storm: the clients reconnect to rooms with full tails, while other clients send.
    #[arg(long)]
    tails: bool,
    #[command(flatten)]
    sizes: Sizes,
    /// Reports a stored run. Scenarios that are named on the command line are run again.
    #[arg(long)]
    from: Option<PathBuf>,
    /// JSON file that describes a running server, which the scenario fanout also measures.
    #[arg(long = "peer", value_name = "FILE")]
    peers: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScenarioName {
    Fanout,
    Idle,
    SmallRooms,
    Mixed,
    Stored,
    Cost,
    Latency,
    Storm,
    Slow,
    History,
    ColdJoin,
    Telemetry,
    Neighbours,
    Restart,
    Shards,
    Search,
    Feed,
}

impl ScenarioName {
    fn arg_name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    async fn run(self, scale: Scale, tails: bool, described_subjects: Vec<Subject>) -> Result<Scenario> {
        // Runs on a worker thread of the runtime, because the load generator blocks its thread.
        let scenario = tokio::spawn(async move {
            match self {
                ScenarioName::Fanout => fanout::run(&scale, &described_subjects).await,
                ScenarioName::Idle => idle::run(&scale).await,
                ScenarioName::SmallRooms => small_rooms::run(&scale).await,
                ScenarioName::Mixed => mixed::run(&scale).await,
                ScenarioName::Stored => stored::run(&scale).await,
                ScenarioName::Cost => cost::run(&scale).await,
                ScenarioName::Latency => latency::run(&scale).await,
                ScenarioName::Storm if tails => storm::tails::run(&scale).await,
                ScenarioName::Storm => storm::run(&scale).await,
                ScenarioName::Slow => slow::run(&scale).await,
                ScenarioName::History => history::run(&scale).await,
                ScenarioName::ColdJoin => cold_join::run(&scale).await,
                ScenarioName::Telemetry => telemetry::run(&scale).await,
                ScenarioName::Neighbours => neighbours::run(&scale).await,
                ScenarioName::Restart => restart::run(&scale).await,
                ScenarioName::Shards => shards::run(&scale).await,
                ScenarioName::Search => search::run(&scale).await,
                ScenarioName::Feed => feed::run(&scale).await,
            }
        });
        scenario.await?
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    raise_open_file_limit()?;
    let samples = usize::from(arguments.samples);
    let scale = Scale { quick: arguments.quick, samples, sizes: arguments.sizes };
    let described_subjects: Vec<Subject> =
        arguments.peers.iter().map(|file| Subject::from_description_file(file)).collect::<Result<_>>()?;
    let mut results = match &arguments.from {
        Some(file) => report::read_results(file)?,
        None => Results {
            machine: collect_environment(install::installed_folder().as_deref()),
            scenarios: Vec::new(),
        },
    };
    let names = match &arguments.names[..] {
        [] if arguments.from.is_none() => ScenarioName::value_variants(),
        named => named,
    };
    let mut failed = false;
    for name in names {
        let scenario = match name.run(scale, arguments.tails, described_subjects.clone()).await {
            Ok(scenario) => scenario,
            Err(error) => {
                // The other scenarios are still valid.
                eprintln!("{} failed: {error:#}", name.arg_name());
                failed = true;
                continue;
            }
        };
        match results.scenarios.iter_mut().find(|known| known.name == scenario.name) {
            Some(known) => *known = scenario,
            None => results.scenarios.push(scenario),
        }
        if arguments.from.is_none() {
            // Reads the environment again, because the scenario may have installed packages.
            results.machine = collect_environment(install::installed_folder().as_deref());
        }
        // The file is written after each scenario, so a later failure loses nothing.
        if let Some(file) = &arguments.json {
            std::fs::write(file, report::to_json(&results)?)
                .with_context(|| format!("write {}", file.display()))?;
        }
    }
    print_and_write_reports(&results, arguments.plot.as_deref(), arguments.page.as_deref())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Raises the limit of open files to the hard limit, because each connection is a file. The servers inherit the limit.
fn raise_open_file_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("allow as many open files as there may be")
}

fn print_and_write_reports(results: &Results, folder: Option<&Path>, page: Option<&Path>) -> Result<()> {
    print!("{}", report::tables(results));
    let Some(folder) = folder else { return Ok(()) };
    report::write_plots(results, folder)?;
    let Some(page) = page else { return Ok(()) };
    let existing = if page.exists() { std::fs::read_to_string(page)? } else { String::new() };
    let generated = report::generated_part(results, &relative_folder(page, folder)?);
    std::fs::write(page, report::replace_generated_part(&existing, &generated)?)
        .with_context(|| format!("write {}", page.display()))
}

/// The path of a folder relative to the folder of a page.
fn relative_folder(page: &Path, folder: &Path) -> Result<String> {
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("{}", path.display()));
    let (page, folder) = (absolute(page)?, absolute(folder)?);
    let page_folder = page.parent().context("the page is in no folder")?;
    let shared =
        page_folder.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    let up = page_folder.components().skip(shared).map(|_| "..".to_owned());
    let down = folder.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_linked_relative_to_the_page() {
        let seen = |page: &str, folder: &str| relative_folder(Path::new(page), Path::new(folder)).unwrap();
        assert_eq!(seen("docs/BENCHMARKS.md", "docs/benchmarks"), "benchmarks");
        assert_eq!(seen("docs/BENCHMARKS.md", "target/plots"), "../target/plots");
        assert_eq!(seen("docs/BENCHMARKS.md", "docs"), ".");
    }
}
