//! The program behind `./dev idle`: measures the memory of idle connections, and prints it as JSON and as a sentence.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidings_harness::dev::Home;
use tidings_harness::dev::status::Status;
use tidings_harness::idle;
use tidings_harness::say;

/// File descriptors that are needed besides the connections.
const SPARE_FILES: u64 = 200;

/// Measures what an idle connection, authenticated and in two rooms, costs the gateways in memory.
#[derive(Parser)]
#[command(name = "idle", bin_name = "./dev idle")]
struct Arguments {
    /// How many connections (a multiple of ten).
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// How long the connections are idle, in seconds.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Limit of the memory per connection, in bytes.
    #[arg(long, default_value_t = 3072)]
    max_bytes: u64,
    /// Measure the system that this file describes (the JSON of ./dev status). Default: the system of ./dev.
    #[arg(long)]
    stack: Option<PathBuf>,
    #[arg(long, env = "TIDINGS_DEV_DIR", default_value = ".dev", hide = true)]
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("idle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    anyhow::ensure!(
        arguments.connections as u64 + SPARE_FILES <= hard,
        "{} connections need more open files than the limit of {hard}",
        arguments.connections
    );
    let status = match &arguments.stack {
        Some(file) => serde_json::from_str(&std::fs::read_to_string(file)?)
            .with_context(|| format!("{} is not the JSON of ./dev status", file.display()))?,
        None => Status::read(&Home::new(&arguments.folder)?)?,
    };
    let idle = Duration::from_secs(arguments.idle);
    let figures = idle::measure(&status, arguments.connections, idle, arguments.max_bytes).await?;
    say!("{}", serde_json::to_string(&figures)?);
    say!(
        "An idle connection in {} rooms costs {} bytes ({} of them, {} s idle, {} pings answered, {} lost): {}",
        figures.rooms_each,
        figures.bytes_per_connection,
        figures.connections,
        figures.idle_seconds,
        figures.pings_answered,
        figures.lost,
        if figures.is_good() { "good" } else { "TOO MUCH" },
    );
    Ok(figures.is_good())
}
