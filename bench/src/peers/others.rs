//! The servers with which Tidings is compared. Socket.IO and Centrifuge are chat servers. Node's `ws`, actix-ws and
//! plain write(2) only distribute messages; their costs are lower bounds for any server. Each server runs as child
//! processes that end with the bench.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tidings_harness::daemon::Daemon;
use tidings_harness::folder::Folder;
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::redis::Redis;
use tidings_harness::{node, token};

use super::{RunningServer, ServerRequirements, install, tidings};
use crate::dialect::Dialect;
use crate::processes::Process;

pub mod actix_ws;
pub mod bare;
mod described;
pub mod write_limit;

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A measured server other than Tidings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherServer {
    /// Socket.IO 4. Its Redis adapter connects several nodes. Messages are stored in PostgreSQL if the setting requires
    /// it.
    SocketIo,
    /// Centrifuge. Its Redis broker connects several nodes. Messages are stored as with Socket.IO.
    Centrifuge,
    /// Raw fan-out with Node's `ws`.
    Ws,
    /// Raw fan-out with actix-ws.
    ActixWs,
    /// Raw fan-out with only write(2).
    WriteLimit,
    /// A server that runs already. A JSON file describes it: `{"url": "ws://127.0.0.1:PORT", "pids": […]?,
    /// "jwt_secret": "…"?, "dialect": {…}}`.
    Described(PathBuf),
}

/// The name of the server that a description file describes.
pub fn described_server_name(file: &Path) -> Result<String> {
    described::server_name(file)
}

/// Starts a server.
///
/// # Errors
/// When a process does not start, or the server does not support the setting.
pub async fn start(other: &OtherServer, setting: &ServerRequirements) -> Result<RunningServer> {
    let require_single_node = |name: &str| -> Result<()> {
        ensure!(setting.nodes <= 1 && !setting.stored, "{name} is one node, and stores nothing");
        Ok(())
    };
    match other {
        OtherServer::SocketIo => Ok(start_socketio(setting).await?.0),
        OtherServer::Centrifuge => Ok(start_centrifuge(setting).await?.0),
        OtherServer::Ws => {
            require_single_node("ws")?;
            let scripts = install::install_node_servers().await?;
            let server = SingleProcessServer { name: "node", dialect: include_str!("../../peers/ws.json") };
            server.start(move || node_command(&scripts, "ws.mjs")).await
        }
        OtherServer::ActixWs => {
            require_single_node("actix-ws")?;
            let server =
                SingleProcessServer { name: "actix-ws", dialect: include_str!("../../peers/actix-ws.json") };
            let program = node::program("bench-actix-ws")?;
            server.start(move || with_clean_environment(Command::new(&program))).await
        }
        OtherServer::WriteLimit => {
            require_single_node("write-limit")?;
            let server = SingleProcessServer {
                name: "write-limit",
                dialect: include_str!("../../peers/write-limit.json"),
            };
            let program = node::program("bench-write-limit")?;
            server.start(move || with_clean_environment(Command::new(&program))).await
        }
        OtherServer::Described(path) => described::running_server(path).await,
    }
}

/// Starts Socket.IO, and a database if messages are stored. Redis and PostgreSQL have the same durability settings as
/// with Tidings.
pub async fn start_socketio(setting: &ServerRequirements) -> Result<(RunningServer, Option<Arc<Database>>)> {
    let scripts = install::install_node_servers().await?;
    let launch = move || node_command(&scripts, "socketio.mjs");
    start_chat_server(setting, include_str!("../../peers/socketio.json"), launch).await
}

/// Starts Centrifuge, and a database if messages are stored. Redis and PostgreSQL have the same durability settings as
/// with Tidings.
pub async fn start_centrifuge(
    setting: &ServerRequirements,
) -> Result<(RunningServer, Option<Arc<Database>>)> {
    let program = install::centrifuge::build_program().await?;
    let launch = move || with_clean_environment(Command::new(&program));
    start_chat_server(setting, include_str!("../../peers/centrifuge.json"), launch).await
}

/// Starts the nodes of a chat server. Starts Redis too if there are several nodes, and a database if messages are
/// stored.
async fn start_chat_server(
    setting: &ServerRequirements,
    description: &str,
    launch: impl Fn() -> Command + Clone + Send + Sync + 'static,
) -> Result<(RunningServer, Option<Arc<Database>>)> {
    let folder = Folder::new()?;
    let jwt_secret = token::secret();
    let mut settings = vec![("JWT_SECRET", jwt_secret.clone())];
    let mut processes = Vec::new();
    let mut add = |name: &str, pid: Option<u32>| -> Result<()> {
        processes.push(Process { name: name.into(), pid: pid.with_context(|| format!("{name} is gone"))? });
        Ok(())
    };
    let (mut redis, mut database) = (None, None);
    if setting.nodes > 1 {
        let started = Redis::start_in(folder.path()).await?;
        settings.push(("REDIS_URL", started.url()));
        add("redis", started.pid())?;
        redis = Some(started);
    }
    if setting.stored {
        let server = Arc::new(Postgres::start_durable_in(folder.path(), tidings::POSTGRES_SETTINGS).await?);
        let made = Arc::new(server.database().await?);
        settings.push(("DATABASE_URL", made.url().to_owned()));
        add("postgres", server.pid())?;
        database = Some(made);
    }
    // Vec drops its values in this order: nodes first, then their dependencies, the folder with the logs last.
    let mut guards: Vec<Box<dyn Send>> = Vec::new();
    let mut nodes = Vec::new();
    for number in 0..setting.nodes.max(1) {
        let (launch, settings) = (launch.clone(), settings.clone());
        let launch = move || {
            let mut command = launch();
            command.envs(settings.iter().map(|(name, value)| (name, value)));
            command
        };
        let (daemon, address) = start_process(&format!("node-{number}"), folder.path(), launch).await?;
        add("node", daemon.pid())?;
        nodes.push(address);
        guards.push(Box::new(daemon));
    }
    guards.push(Box::new(redis));
    guards.push(Box::new(database.clone()));
    guards.push(Box::new(folder));
    let dialect = Dialect::parse(description)?;
    Ok((RunningServer { nodes, dialect, processes, jwt_secret, guards }, database))
}

/// A server that consists of one process: the name of its log, and its dialect as JSON.
struct SingleProcessServer {
    name: &'static str,
    dialect: &'static str,
}

impl SingleProcessServer {
    async fn start(self, launch: impl Fn() -> Command + Send + Sync + 'static) -> Result<RunningServer> {
        let folder = Folder::new()?;
        let (daemon, address) = start_process(self.name, folder.path(), launch).await?;
        let pid = daemon.pid().with_context(|| format!("{} is gone", self.name))?;
        Ok(RunningServer {
            nodes: vec![address],
            dialect: Dialect::parse(self.dialect)?,
            processes: vec![Process { name: self.name.into(), pid }],
            jwt_secret: token::secret(),
            guards: vec![Box::new(daemon), Box::new(folder)],
        })
    }
}

/// Starts a process and waits until it prints its address.
async fn start_process(
    name: &str,
    folder: &Path,
    launch: impl Fn() -> Command + Send + Sync + 'static,
) -> Result<(Daemon, SocketAddr)> {
    let log = folder.join(format!("{name}.log"));
    let daemon = Daemon::new(name, &log, Signal::SIGKILL, launch);
    daemon.start()?;
    daemon.until_ready(READY_TIMEOUT, || async { listen_address(&log).is_some() }).await?;
    let address = listen_address(&log).context("the line with its address is gone")?;
    Ok((daemon, address))
}

/// The address in the log line `listening 127.0.0.1:PORT`; `None` if there is no such line yet.
fn listen_address(log: &Path) -> Option<SocketAddr> {
    let log = std::fs::read_to_string(log).ok()?;
    // Skips an incomplete last line, which may end within the port.
    let mut lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.find_map(|line| line.strip_prefix("listening ")?.parse().ok())
}

fn node_command(scripts: &Path, script: &str) -> Command {
    let mut command = with_clean_environment(Command::new("node"));
    command.arg(scripts.join(script)).env("NODE_ENV", "production").env("PORT", "0");
    command
}

/// Clears the environment except for the variables that programs need. A `REDIS_URL` or `NODE_OPTIONS` of the bench
/// would change the measurement.
fn with_clean_environment(mut command: Command) -> Command {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}
