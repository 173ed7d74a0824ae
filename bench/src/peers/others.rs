//! The servers that Tidings is compared with. Socket.IO and Centrifuge are chat servers. Node's `ws`, actix-ws and plain
//! write(2) are lower bounds for any server. Each is started as child processes that end with us.

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

use super::{Running, Setting, install, tidings};
use crate::dialect::Dialect;
use crate::processes::Process;

pub mod actix_ws;
pub mod bare;
mod described;
pub mod write_limit;

const READY_PATIENCE: Duration = Duration::from_secs(30);

/// A server other than Tidings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// Socket.IO 4. Several nodes are connected by its Redis adapter. Messages are stored in PostgreSQL if the setting
    /// asks for it.
    SocketIo,
    /// Centrifuge. Several nodes are connected by its Redis broker. Messages are stored as with Socket.IO.
    Centrifuge,
    /// Raw fan-out with Node's `ws`.
    Ws,
    /// Raw fan-out with actix-ws.
    ActixWs,
    /// Raw fan-out with only write(2).
    WriteLimit,
    /// A server that is already running, described by a JSON file:
    /// `{"url": "ws://127.0.0.1:PORT", "pids": […]?, "jwt_secret": "…"?, "dialect": {…}}`.
    Described(PathBuf),
}

/// The name of the server in a description file.
///
/// # Errors
/// When the file cannot be read, or is malformed.
pub fn name_of(file: &Path) -> Result<String> {
    described::name_of(file)
}

/// Starts it.
///
/// # Errors
/// When something does not start, or the server does not support the setting.
pub async fn start(other: &Other, setting: &Setting) -> Result<Running> {
    let one = |name: &str| -> Result<()> {
        ensure!(setting.nodes <= 1 && !setting.stored, "{name} is one node, and stores nothing");
        Ok(())
    };
    match other {
        Other::SocketIo => Ok(start_socketio(setting).await?.0),
        Other::Centrifuge => Ok(start_centrifuge(setting).await?.0),
        Other::Ws => {
            one("ws")?;
            let scripts = install::installed().await?;
            let server = Server { name: "node", dialect: include_str!("../../peers/ws.json") };
            server.start(move || node_command(&scripts, "ws.mjs")).await
        }
        Other::ActixWs => {
            one("actix-ws")?;
            let server = Server { name: "actix-ws", dialect: include_str!("../../peers/actix-ws.json") };
            let program = node::program("bench-actix-ws")?;
            server.start(move || bare_environment(Command::new(&program))).await
        }
        Other::WriteLimit => {
            one("write-limit")?;
            let server =
                Server { name: "write-limit", dialect: include_str!("../../peers/write-limit.json") };
            let program = node::program("bench-write-limit")?;
            server.start(move || bare_environment(Command::new(&program))).await
        }
        Other::Described(path) => described::read(path).await,
    }
}

/// Starts Socket.IO; with a database if messages are stored. PostgreSQL and Redis are as durable as with Tidings.
///
/// # Errors
/// When something does not come up.
pub async fn start_socketio(setting: &Setting) -> Result<(Running, Option<Arc<Database>>)> {
    let scripts = install::installed().await?;
    let launch = move || node_command(&scripts, "socketio.mjs");
    start_chat(setting, include_str!("../../peers/socketio.json"), launch).await
}

/// Starts Centrifuge, in the same way.
///
/// # Errors
/// When something does not come up.
pub async fn start_centrifuge(setting: &Setting) -> Result<(Running, Option<Arc<Database>>)> {
    let program = install::centrifuge::program().await?;
    let launch = move || bare_environment(Command::new(&program));
    start_chat(setting, include_str!("../../peers/centrifuge.json"), launch).await
}

/// Starts the nodes of a chat server, with Redis if there are several, and with a database if messages are stored.
async fn start_chat(
    setting: &Setting,
    description: &str,
    launch: impl Fn() -> Command + Clone + Send + Sync + 'static,
) -> Result<(Running, Option<Arc<Database>>)> {
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
    // Dropped in this order: nodes first, then their dependencies, the folder with the logs last.
    let mut kept: Vec<Box<dyn Send>> = Vec::new();
    let mut nodes = Vec::new();
    for number in 0..setting.nodes.max(1) {
        let (launch, settings) = (launch.clone(), settings.clone());
        let launch = move || {
            let mut command = launch();
            command.envs(settings.iter().map(|(name, value)| (name, value)));
            command
        };
        let (daemon, address) = up(&format!("node-{number}"), folder.path(), launch).await?;
        add("node", daemon.pid())?;
        nodes.push(address);
        kept.push(Box::new(daemon));
    }
    kept.push(Box::new(redis));
    kept.push(Box::new(database.clone()));
    kept.push(Box::new(folder));
    let dialect = dialect(description)?;
    Ok((Running { nodes, dialect, processes, jwt_secret, kept }, database))
}

/// A server that is one process.
struct Server {
    name: &'static str,
    dialect: &'static str,
}

impl Server {
    async fn start(self, launch: impl Fn() -> Command + Send + Sync + 'static) -> Result<Running> {
        let folder = Folder::new()?;
        let (daemon, address) = up(self.name, folder.path(), launch).await?;
        let pid = daemon.pid().with_context(|| format!("{} is gone", self.name))?;
        Ok(Running {
            nodes: vec![address],
            dialect: dialect(self.dialect)?,
            processes: vec![Process { name: self.name.into(), pid }],
            jwt_secret: token::secret(),
            kept: vec![Box::new(daemon), Box::new(folder)],
        })
    }
}

/// Starts a process and waits until it prints its address.
async fn up(
    name: &str,
    folder: &Path,
    launch: impl Fn() -> Command + Send + Sync + 'static,
) -> Result<(Daemon, SocketAddr)> {
    let log = folder.join(format!("{name}.log"));
    let daemon = Daemon::new(name, &log, Signal::SIGKILL, launch);
    daemon.start()?;
    daemon.until_ready(READY_PATIENCE, || async { said(&log).is_some() }).await?;
    let address = said(&log).context("what it said is gone")?;
    Ok((daemon, address))
}

/// The address of the line `listening 127.0.0.1:PORT`.
fn said(log: &Path) -> Option<SocketAddr> {
    let log = std::fs::read_to_string(log).ok()?;
    // An incomplete line may end within the port.
    let mut lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.find_map(|line| line.strip_prefix("listening ")?.parse().ok())
}

fn node_command(scripts: &Path, script: &str) -> Command {
    let mut command = bare_environment(Command::new("node"));
    command.arg(scripts.join(script)).env("NODE_ENV", "production").env("PORT", "0");
    command
}

/// Passes only the environment that programs need: a `REDIS_URL` or `NODE_OPTIONS` of ours would change the
/// measurement.
fn bare_environment(mut command: Command) -> Command {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn dialect(text: &str) -> Result<Dialect> {
    serde_json::from_str(text).context("the description of its frames")
}
