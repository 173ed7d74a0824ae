//! `tidings-bench`: runs scenarios and tells what they found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidings_bench::machine::machine;
use tidings_bench::peers::install;
use tidings_bench::report;
use tidings_bench::results::{Results, Scenario};
use tidings_bench::scenario::world::Subject;
use tidings_bench::scenario::{
    Scale, cold_join, cost, fanout, history, idle, latency, mixed, slow, small_rooms, stored, storm,
    telemetry,
};

/// Measures Tidings and what else one would use, side by side.
#[derive(Debug, Parser)]
#[command(name = "./dev bench")]
struct Arguments {
    /// Scenarios, all of them unless named.
    names: Vec<Name>,
    /// Stores the run, after each scenario.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A folder for pictures.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// A page, whose generated part is written anew; it links the pictures.
    #[arg(long, requires = "plot")]
    page: Option<PathBuf>,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Small and short, to see that all of it works; its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Tells of a stored run again instead of making one; scenarios that are named are made anew.
    #[arg(long)]
    from: Option<PathBuf>,
    /// A server that runs already, described by a JSON file, takes part in fanout.
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
        // On a thread of the runtime: the load generator blocks it.
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
                // The others are worth no less for it.
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
            // Whoever was needed only now is installed now.
            results.machine = machine(install::present().as_deref());
        }
        // After each, so that a later one that fails takes nothing along.
        if let Some(file) = &arguments.json {
            std::fs::write(file, report::json(&results)?)
                .with_context(|| format!("write {}", file.display()))?;
        }
    }
    show(&results, arguments.plot.as_deref(), arguments.page.as_deref())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Each connection is a file, here and in the servers, which take the limit over.
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

/// A folder as a link on a page names it.
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
    fn pictures_are_linked_from_where_the_page_is() {
        let seen = |page: &str, folder: &str| seen_from(Path::new(page), Path::new(folder)).unwrap();
        assert_eq!(seen("docs/BENCHMARKS.md", "docs/benchmarks"), "benchmarks");
        assert_eq!(seen("docs/BENCHMARKS.md", "target/plots"), "../target/plots");
        assert_eq!(seen("docs/BENCHMARKS.md", "docs"), ".");
    }
}
