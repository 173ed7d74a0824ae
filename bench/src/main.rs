//! `tidings-bench`: runs scenarios and reports the figures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidings_bench::machine::machine;
use tidings_bench::peers::install;
use tidings_bench::report;
use tidings_bench::results::{Results, Scenario};
use tidings_bench::scenario::subject::Subject;
use tidings_bench::scenario::{
    Scale, cold_join, cost, fanout, history, idle, latency, mixed, slow, small_rooms, stored, storm,
    telemetry,
};

/// Measures Tidings and alternatives side by side.
#[derive(Debug, Parser)]
#[command(name = "./dev bench")]
struct Arguments {
    /// Scenarios. Default: all.
    names: Vec<Name>,
    /// Stores the run in this file, after each scenario.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Folder for pictures.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Page whose generated part is replaced; it links the pictures.
    #[arg(long, requires = "plot")]
    page: Option<PathBuf>,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Small and short, to check that everything works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Reports a stored run instead of a new one; named scenarios are run again.
    #[arg(long)]
    from: Option<PathBuf>,
    /// JSON file that describes a running server, which takes part in fanout.
    #[arg(long = "peer", value_name = "FILE")]
    peers: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
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
}

impl Name {
    fn as_told(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    async fn run(self, scale: Scale, described: Vec<Subject>) -> Result<Scenario> {
        // Runs on a thread of the runtime, because the load generator blocks it.
        let scenario = tokio::spawn(async move {
            match self {
                Name::Fanout => fanout::run(&scale, &described).await,
                Name::Idle => idle::run(&scale).await,
                Name::SmallRooms => small_rooms::run(&scale).await,
                Name::Mixed => mixed::run(&scale).await,
                Name::Stored => stored::run(&scale).await,
                Name::Cost => cost::run(&scale).await,
                Name::Latency => latency::run(&scale).await,
                Name::Storm => storm::run(&scale).await,
                Name::Slow => slow::run(&scale).await,
                Name::History => history::run(&scale).await,
                Name::ColdJoin => cold_join::run(&scale).await,
                Name::Telemetry => telemetry::run(&scale).await,
            }
        });
        scenario.await?
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    allow_many_files()?;
    let scale = Scale { quick: arguments.quick, samples: usize::from(arguments.samples) };
    let described: Vec<Subject> =
        arguments.peers.iter().map(|file| Subject::described(file)).collect::<Result<_>>()?;
    let mut results = match &arguments.from {
        Some(file) => report::read(file)?,
        None => Results { machine: machine(install::present().as_deref()), scenarios: Vec::new() },
    };
    let names = match &arguments.names[..] {
        [] if arguments.from.is_none() => Name::value_variants(),
        named => named,
    };
    let mut failed = false;
    for name in names {
        let scenario = match name.run(scale, described.clone()).await {
            Ok(scenario) => scenario,
            Err(error) => {
                // The other scenarios are still valid.
                eprintln!("{} failed: {error:#}", name.as_told());
                failed = true;
                continue;
            }
        };
        match results.scenarios.iter_mut().find(|known| known.name == scenario.name) {
            Some(known) => *known = scenario,
            None => results.scenarios.push(scenario),
        }
        if arguments.from.is_none() {
            // Packages may have been installed during this scenario.
            results.machine = machine(install::present().as_deref());
        }
        // Written after each scenario, so that a later failure loses nothing.
        if let Some(file) = &arguments.json {
            std::fs::write(file, report::json(&results)?)
                .with_context(|| format!("write {}", file.display()))?;
        }
    }
    show(&results, arguments.plot.as_deref(), arguments.page.as_deref())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Raises the limit of open files, here and for the servers, which inherit it, because each connection is a file.
fn allow_many_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("allow as many open files as there may be")
}

fn show(results: &Results, folder: Option<&Path>, page: Option<&Path>) -> Result<()> {
    print!("{}", report::table(results));
    let Some(folder) = folder else { return Ok(()) };
    report::plots(results, folder)?;
    let Some(page) = page else { return Ok(()) };
    let existing = if page.exists() { std::fs::read_to_string(page)? } else { String::new() };
    let generated = report::page(results, &seen_from(page, folder)?);
    std::fs::write(page, report::put_into(&existing, &generated)?)
        .with_context(|| format!("write {}", page.display()))
}

/// The path of a folder, relative to a page.
fn seen_from(page: &Path, folder: &Path) -> Result<String> {
    let whole = |path: &Path| std::path::absolute(path).with_context(|| format!("{}", path.display()));
    let (page, folder) = (whole(page)?, whole(folder)?);
    let beside = page.parent().context("the page is in no folder")?;
    let shared = beside.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    let up = beside.components().skip(shared).map(|_| "..".to_owned());
    let down = folder.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_linked_relative_to_the_page() {
        let seen = |page: &str, folder: &str| seen_from(Path::new(page), Path::new(folder)).unwrap();
        assert_eq!(seen("docs/BENCHMARKS.md", "docs/benchmarks"), "benchmarks");
        assert_eq!(seen("docs/BENCHMARKS.md", "target/plots"), "../target/plots");
        assert_eq!(seen("docs/BENCHMARKS.md", "docs"), ".");
    }
}
