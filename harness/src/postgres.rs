//! A private, real PostgreSQL 15, as root or not, in any folder. Tests that do not break it share one: the server of
//! the whole run if `TIDINGS_TEST_POSTGRES` names its port, else one per process. Touches its folder and its child;
//! uses SQL only through psql. Guarantees that every [`Database`] is new, empty, and durable if the server is killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::daemon::Daemon;
use crate::folder::Folder;
use crate::ports;
use crate::wall_clock::WallClock;

pub(crate) mod cluster;
mod database;
mod family;
mod identity;

pub use database::Database;
pub(crate) use identity::program;

/// The only role of a private server; it needs no password from 127.0.0.1.
pub(crate) const ROLE: &str = "tidings";

const READY_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Names the port of the server that all test processes of a run share.
pub const SHARED_PORT: &str = "TIDINGS_TEST_POSTGRES";

static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());

/// One running PostgreSQL.
pub struct Postgres {
    /// `None` for the server of a run, which belongs to another process.
    daemon: Option<Daemon>,
    port: u16,
    clock: WallClock,
    _folder: Option<Folder>,
}

impl Postgres {
    /// The shared server of tests: that of the run, or one of this process, which is started if it does not run. It
    /// must not be killed or paused: a test that does so starts its own.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not come up.
    pub async fn shared() -> Result<Arc<Postgres>> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(match std::env::var(SHARED_PORT) {
            Ok(port) => Self::attach(port.parse().context(SHARED_PORT)?),
            Err(_) => Self::start().await?,
        });
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// Starts a server for all test processes of a run; it allows enough connections for all of them.
    ///
    /// # Errors
    /// As [`Postgres::shared`].
    pub async fn start_for_a_run() -> Result<Postgres> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch_with(path, Some(folder), "max_connections = 800\n".to_owned()).await
    }

    fn attach(port: u16) -> Postgres {
        let clock = WallClock::of(Path::new(""), "postgres");
        Postgres { daemon: None, port, clock, _folder: None }
    }

    /// The process of this server.
    ///
    /// # Panics
    /// When the server belongs to a whole run: a test that kills, pauses or looks into its server builds its stack with
    /// [`own_postgres`](crate::stack::StackBuilder::own_postgres).
    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the shared PostgreSQL belongs to the whole run; use own_postgres")
    }

    /// Starts one in a new temp folder.
    ///
    /// # Errors
    /// As [`Postgres::shared`].
    pub async fn start() -> Result<Postgres> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch(path, Some(folder)).await
    }

    /// Starts one with its data and log in `folder`.
    ///
    /// # Errors
    /// As [`Postgres::shared`].
    pub async fn start_in(folder: &Path) -> Result<Postgres> {
        Self::launch(folder.to_owned(), None).await
    }

    /// Starts one with its data and log in `folder`, as durable as in production, with these additional lines of
    /// `postgresql.conf`.
    ///
    /// # Errors
    /// As [`Postgres::shared`].
    pub async fn start_durable_in(folder: &Path, settings: &str) -> Result<Postgres> {
        Self::launch_with(folder.to_owned(), None, format!("{}{settings}", cluster::DURABLE)).await
    }

    async fn launch(path: PathBuf, folder: Option<Folder>) -> Result<Postgres> {
        Self::launch_with(path, folder, String::new()).await
    }

    async fn launch_with(path: PathBuf, folder: Option<Folder>, settings: String) -> Result<Postgres> {
        let data = path.join("postgres");
        let clock = WallClock::of(&path, "postgres");
        let into = data.clone();
        tokio::task::spawn_blocking(move || cluster::copy_for_tests(&into, &settings)).await??;
        let mut tries = 5;
        loop {
            let port = ports::free()?;
            // SIGQUIT is PostgreSQL's immediate shutdown: it leaves no shared memory behind, SIGKILL does.
            let daemon = Daemon::new("postgres", path.join("postgres.log"), Signal::SIGQUIT, {
                let (data, clock) = (data.clone(), clock.clone());
                move || {
                    let mut command = cluster::command(&data, port);
                    clock.give_to(&mut command);
                    command
                }
            });
            let clock = clock.clone();
            let mut server = Postgres { daemon: Some(daemon), port, clock, _folder: None };
            match server.up().await {
                Ok(()) => {
                    server._folder = folder;
                    return Ok(server);
                }
                Err(error) if tries == 0 || !error.to_string().contains("in use") => return Err(error),
                Err(_) => tries -= 1,
            }
        }
    }

    async fn up(&self) -> Result<()> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            self.daemon().start()?;
            match self.daemon().until_ready(READY_PATIENCE, || answers(self.port)).await {
                // On a busy machine, processes of a server that was killed may end after its successor has started.
                Err(error)
                    if error.to_string().contains("shared memory block") && Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Creates a fresh, empty database.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(self: &Arc<Self>) -> Result<Database> {
        let name = format!("test_{:016x}", rand::random::<u64>());
        // `file_copy` needs half the CPU time of the default strategy, which writes everything to the log.
        sql(&self.url_of("postgres"), &format!("CREATE DATABASE {name} STRATEGY file_copy")).await?;
        Ok(Database { url: self.url_of(&name), server: Arc::clone(self) })
    }

    /// The URL of a database of this server.
    pub fn url_of(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref()?.pid()
    }

    /// Its wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// The file with the server's output.
    pub fn log(&self) -> &Path {
        self.daemon().log()
    }

    /// SIGKILL to the postmaster; its backends then end by themselves.
    pub fn kill(&self) {
        let backends = self.pid().map(family::children).unwrap_or_default();
        self.daemon().kill();
        // Paused backends notice it only after they continue.
        family::signal(&backends, Signal::SIGCONT);
    }

    /// Fast shutdown: closes connections and writes everything.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&self) -> Result<()> {
        // The postmaster would wait for paused backends. This fails if the server does not run, which does not matter.
        let _ = self.resume();
        self.daemon().stop(Signal::SIGINT, STOP_PATIENCE).await
    }

    /// Starts it again with its data on the same port (stops it first when it runs).
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.up().await
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGSTOP to the postmaster and all its children, so that open connections stop too. All processes have stopped
    /// when this returns.
    ///
    /// # Errors
    /// When it does not run, or a process does not stop.
    pub fn pause(&self) -> Result<()> {
        self.daemon().pause()?;
        family::freeze(self.pid().context("postgres ended while it was paused")?)
    }

    /// SIGCONT to all of them.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        family::signal(&self.pid().map(family::children).unwrap_or_default(), Signal::SIGCONT);
        self.daemon().resume()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A paused backend would not handle the signal that ends it.
        if self.daemon.is_some() {
            let _ = self.resume();
        }
    }
}

/// The URL of a database on a private server.
pub(crate) fn url(port: u16, database: &str) -> String {
    format!("postgres://{ROLE}@127.0.0.1:{port}/{database}")
}

/// Whether a PostgreSQL on this port takes connections.
pub(crate) async fn answers(port: u16) -> bool {
    let mut command = Command::new(program("pg_isready"));
    command.args(["--quiet", "--host=127.0.0.1", &format!("--port={port}"), "--timeout=1"]);
    tokio::process::Command::from(command).status().await.is_ok_and(|status| status.success())
}

/// Runs statements through psql, stopping at the first error.
pub(crate) async fn sql(url: &str, statements: &str) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new(program("psql"));
    command
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
        .args(["--field-separator=\u{1f}", "--record-separator=\u{1e}"])
        .args(["--command", statements, url]);
    let output = tokio::process::Command::from(command).output().await.context("run psql")?;
    if !output.status.success() {
        bail!("{statements}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout)?;
    // The last row ends with a line feed: empty output means no row, and a single line feed means an empty row.
    let rows = text.strip_suffix('\n').map(|rows| rows.split('\u{1e}')).into_iter().flatten();
    Ok(rows.map(|row| row.split('\u{1f}').map(str::to_owned).collect()).collect())
}
