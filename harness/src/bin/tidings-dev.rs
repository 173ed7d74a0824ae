//! The program behind `./dev`, called after the build: up, down, reset, status, token, redis.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tidings_harness::Token;
use tidings_harness::dev::companion::Companions;
use tidings_harness::dev::redis_move::{ChosenMove, move_partitions};
use tidings_harness::dev::state::State;
use tidings_harness::dev::status::Status;
use tidings_harness::dev::up::UpOptions;
use tidings_harness::dev::{Home, down, hints, redis_plan, up};
use tidings_harness::say;

/// Runs Tidings on this machine.
#[derive(Parser)]
#[command(name = "dev", bin_name = "./dev")]
struct Arguments {
    /// The folder for state, data and logs.
    #[arg(long, env = "TIDINGS_DEV_DIR", default_value = ".dev", hide = true)]
    folder: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything that does not run and wait until all of it is ready.
    Up {
        /// Number of gateways. Default: as last time, or 2.
        #[arg(long)]
        gateways: Option<usize>,
        /// Number of persistence nodes. Default: as last time, or 1.
        #[arg(long)]
        persistence: Option<usize>,
        /// Companion programs: `files`, `push`, `webhooks`, separated by commas, or `none`. Default: as last
        /// time, or none.
        #[arg(long, value_name = "PROGRAMS")]
        with: Option<Companions>,
        /// Port of the first gateway; persistence uses the next one. Default: as last time, or 8080.
        #[arg(long)]
        port: Option<u16>,
        /// Return when all is ready, instead of staying until Ctrl-C.
        #[arg(long)]
        detach: bool,
        /// Use a private Redis Cluster with this number of masters, and a replica of each; 0 for a single Redis. Default:
        /// as last time, or 0.
        #[arg(long, value_name = "MASTERS", conflicts_with = "redis_url")]
        redis_cluster: Option<usize>,
        /// Use the Redis at this URL instead of a private one.
        #[arg(long, env = "REDIS_URL")]
        redis_url: Option<String>,
        /// Use the database at this URL instead of a private one.
        #[arg(long, env = "DATABASE_URL")]
        database_url: Option<String>,
        /// The demo's server, once it is built.
        #[arg(long, hide = true)]
        demo: Option<PathBuf>,
        /// A program that builds the demo after the start, with the argument `build-demo`. It prints the path of the
        /// demo's server, or nothing.
        #[arg(long, hide = true, conflicts_with = "demo")]
        build_demo: Option<PathBuf>,
    },
    /// Stop everything; data, ports and numbers are kept.
    Down,
    /// Stop everything and wipe the data.
    Reset,
    /// Show the running processes and their addresses.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a token of a user.
    Token {
        /// The user's id.
        user: String,
        /// Display name.
        #[arg(long)]
        name: Option<String>,
        /// Seconds until the token expires.
        #[arg(long, default_value_t = 3600, allow_negative_numbers = true)]
        ttl: i64,
        /// Scopes, such as tidings.admin.
        #[arg(long)]
        scope: Option<String>,
    },
    /// Look at a Redis Cluster, and move partitions.
    Redis {
        /// The URL of any node of the cluster. Default: the cluster of `./dev up`.
        #[arg(long, env = "REDIS_URL", global = true)]
        redis_url: Option<String>,
        #[command(subcommand)]
        action: RedisAction,
    },
}

#[derive(Subcommand)]
enum RedisAction {
    /// Print which partitions must move so that each master has an equal share.
    Plan,
    /// Move the partitions of the plan, or only one.
    Move {
        /// The partition to move, from 0 to 63.
        #[arg(long, requires = "to")]
        partition: Option<usize>,
        /// The new master, as HOST:PORT.
        #[arg(long, requires = "partition")]
        to: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let home = Home::new(&arguments.folder)?;
    match arguments.command {
        Command::Up {
            gateways,
            persistence,
            with,
            port,
            detach,
            redis_cluster,
            redis_url,
            database_url,
            demo,
            build_demo,
        } => {
            let options = UpOptions {
                gateways,
                persistence,
                with,
                port,
                redis_cluster,
                redis_url,
                database_url,
                demo,
                demo_follows: build_demo.is_some(),
            };
            start(&home, &options, build_demo.as_deref(), detach).await
        }
        Command::Down => down::down(&home).await,
        Command::Reset => down::reset(&home).await,
        Command::Status { json } => {
            let status = Status::read(&home)?;
            if json {
                say!("{}", serde_json::to_string(&status)?);
            } else {
                status.print();
            }
            Ok(())
        }
        Command::Token { user, name, ttl, scope } => {
            let state = State::load(&home)?;
            state.save(&home)?;
            let mut token = Token::of(&user).ttl_s(ttl);
            if let Some(name) = name {
                token = token.name(&name);
            }
            if let Some(scope) = scope {
                token = token.scope(&scope);
            }
            say!("{}", token.sign(&state.jwt_secret));
            Ok(())
        }
        Command::Redis { redis_url, action } => {
            let url = redis_url.map_or_else(|| State::load(&home).map(|state| state.redis_url), Ok)?;
            match action {
                RedisAction::Plan => redis_plan::print_plan(&url).await,
                RedisAction::Move { partition, to } => {
                    let chosen = partition.zip(to).map(|(partition, to)| ChosenMove { partition, to });
                    move_partitions(&url, chosen.as_ref()).await
                }
            }
        }
    }
}

/// Starts everything. Unless `detach` is set, Ctrl-C stops everything, even during the start and the build of the demo.
async fn start(home: &Home, options: &UpOptions, build_demo: Option<&Path>, detach: bool) -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let starting = async {
        let state = up::up(home, options).await?;
        say!("{}", hints::format_hints(&Status::from_state(&state)?));
        match build_demo {
            Some(program) => up::build_and_add_demo(home, program).await,
            None => Ok(()),
        }
    };
    let started = tokio::select! {
        started = starting => Some(started?),
        _ = tokio::signal::ctrl_c() => None,
        _ = terminate.recv() => None,
    };
    match started {
        Some(()) if detach => Ok(()),
        Some(()) => stay_until_interrupted(home).await,
        None => {
            say!("");
            down::down(home).await
        }
    }
}

async fn stay_until_interrupted(home: &Home) -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    say!("Ctrl-C stops everything.");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    say!("");
    down::down(home).await
}
