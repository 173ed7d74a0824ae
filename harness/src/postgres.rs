//! A private, real PostgreSQL 15. It can run as root or not, and in any folder. Tests that do not break the server
//! share one: the server of the whole test run if `TIDINGS_TEST_POSTGRES` names its port, else one per process. Touches
//! its folder and its child; uses SQL only here. Guarantees that every [`Database`] is new and empty, and keeps
//! what it committed if the server is killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, ValueRef};
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

/// The only role of a private server. Connections from 127.0.0.1 need no password.
pub(crate) const ROLE: &str = "tidings";

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The environment variable with the port of the server that all processes of a test run share.
pub const SHARED_PORT: &str = "TIDINGS_TEST_POSTGRES";

static SHARED_SERVER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());

/// One running PostgreSQL.
pub struct Postgres {
    /// `None` for the server of a test run, which belongs to another process.
    daemon: Option<Daemon>,
    port: u16,
    clock: WallClock,
    /// The data folder; empty for the server of a test run.
    data: PathBuf,
    _folder: Option<Folder>,
}

impl Postgres {
    /// The shared server: the server of the test run if there is one, else one of this process, which starts at the
    /// first call. A test must not kill or pause the shared server; such a test starts its own.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start.
    pub async fn shared() -> Result<Arc<Postgres>> {
        let mut shared = SHARED_SERVER.lock().await;
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

    /// Starts a server for all processes of a test run. It allows enough connections for all of them.
    pub async fn start_for_a_run() -> Result<Postgres> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch_with(path, Some(folder), "max_connections = 800\n".to_owned()).await
    }

    fn attach(port: u16) -> Postgres {
        let clock = WallClock::of(Path::new(""), "postgres");
        Postgres { daemon: None, port, clock, data: PathBuf::new(), _folder: None }
    }

    /// The process of this server.
    ///
    /// # Panics
    /// When the server belongs to a test run. A test that needs the process of its server builds its stack with
    /// [`own_postgres`](crate::stack::StackBuilder::own_postgres).
    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the shared PostgreSQL belongs to the whole run; use own_postgres")
    }

    /// Starts a server in a new temporary folder.
    pub async fn start() -> Result<Postgres> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch(path, Some(folder)).await
    }

    /// Starts a server with its data and log in `folder`.
    pub async fn start_in(folder: &Path) -> Result<Postgres> {
        Self::launch(folder.to_owned(), None).await
    }

    /// Starts a server with its data and log in `folder`, as durable as in production, with these additional lines of
    /// `postgresql.conf`.
    pub async fn start_durable_in(folder: &Path, settings: &str) -> Result<Postgres> {
        Self::launch_with(folder.to_owned(), None, format!("{}{settings}", cluster::DURABLE_SETTINGS)).await
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
            // SIGQUIT is PostgreSQL's immediate shutdown. Unlike SIGKILL, it leaves no shared memory behind.
            let daemon = Daemon::new("postgres", path.join("postgres.log"), Signal::SIGQUIT, {
                let (data, clock) = (data.clone(), clock.clone());
                move || {
                    let mut command = cluster::command(&data, port);
                    clock.apply_to(&mut command);
                    command
                }
            });
            let clock = clock.clone();
            let mut server =
                Postgres { daemon: Some(daemon), port, clock, data: data.clone(), _folder: None };
            match server.start_and_wait().await {
                Ok(()) => {
                    server._folder = folder;
                    return Ok(server);
                }
                Err(error) if tries == 0 || !error.to_string().contains("in use") => return Err(error),
                Err(_) => tries -= 1,
            }
        }
    }

    async fn start_and_wait(&self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            self.daemon().start()?;
            match self.daemon().until_ready(READY_TIMEOUT, || accepts_connections(self.port)).await {
                // Processes of the killed server may still run, and then PostgreSQL refuses to start.
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
    pub async fn database(self: &Arc<Self>) -> Result<Database> {
        self.copy_of("template1").await
    }

    /// Creates a database with the content of another one, to which nobody is connected.
    pub(crate) async fn copy_of(self: &Arc<Self>, template: &str) -> Result<Database> {
        let name = format!("test_{:016x}", rand::random::<u64>());
        self.create_database(&name, template).await?;
        Ok(Database { url: self.url_of(&name), server: Arc::clone(self) })
    }

    /// Creates a database of this name with the content of another one.
    pub(crate) async fn create_database(&self, name: &str, template: &str) -> Result<()> {
        // `file_copy` needs half the CPU time of the default strategy, which writes the whole template to the WAL.
        let create = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        sql(&self.url_of("postgres"), &create).await.map(|_| ())
    }

    /// Whether the server belongs to a test run, and to no single test.
    pub(crate) fn is_of_a_run(&self) -> bool {
        self.daemon.is_none()
    }

    /// The URL of a database of this server.
    pub fn url_of(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// The server's pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref()?.pid()
    }

    /// The server's wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// The file with the server's output.
    pub fn log(&self) -> &Path {
        self.daemon().log()
    }

    /// Sends SIGKILL to the postmaster. Its backends then end by themselves.
    pub fn kill(&self) {
        let backends = self.pid().map(family::children).unwrap_or_default();
        self.daemon().kill();
        // Paused backends notice the end of the postmaster only after they continue.
        family::signal(&backends, Signal::SIGCONT);
    }

    /// Stops the server with a fast shutdown, which closes connections and writes all data.
    pub async fn stop(&self) -> Result<()> {
        // The postmaster would wait for paused backends. The call fails if the server does not run, which does not
        // matter.
        let _ = self.resume();
        self.daemon().stop(Signal::SIGINT, STOP_TIMEOUT).await
    }

    /// Starts the server again with its data on the same port. If it still runs, it is stopped first.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start_and_wait().await
    }

    /// The server's data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Stops the server and removes all its data.
    ///
    /// # Errors
    /// When the server had to be killed, or the data cannot be removed.
    pub async fn lose_data(&self) -> Result<()> {
        self.stop().await?;
        std::fs::remove_dir_all(&self.data).context("remove the data of PostgreSQL")
    }

    /// Starts the server with the files that the caller put into its data folder.
    pub async fn start_with_files(&self) -> Result<()> {
        identity::give_to_server_user(&self.data)?;
        self.start_and_wait().await
    }

    /// The server's port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Pauses the postmaster and all its children with SIGSTOP, so open connections stop too. All processes have
    /// stopped when this returns.
    ///
    /// # Errors
    /// When the server does not run, or a process does not stop.
    pub fn pause(&self) -> Result<()> {
        self.daemon().pause()?;
        family::pause_children(self.pid().context("postgres ended while it was paused")?)
    }

    /// Resumes the postmaster and all its children with SIGCONT.
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

/// Whether a PostgreSQL on this port accepts connections.
pub(crate) async fn accepts_connections(port: u16) -> bool {
    let mut command = Command::new(program("pg_isready"));
    command.args(["--quiet", "--host=127.0.0.1", &format!("--port={port}"), "--timeout=1"]);
    tokio::process::Command::from(command).status().await.is_ok_and(|status| status.success())
}

/// Runs statements in a connection of their own, as one transaction. Returns the rows of all statements.
pub(crate) async fn sql(url: &str, statements: &str) -> Result<Vec<Vec<String>>> {
    let run = async {
        let mut connection = PgConnection::connect(url).await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(&mut connection).await?;
        connection.close().await?;
        rows.iter().map(columns).collect::<Result<Vec<_>>>()
    };
    run.await.map_err(|error| anyhow!("{statements}: {error:#}"))
}

/// The columns of a row as text; a NULL is empty. A statement without parameters has its values as text.
fn columns(row: &PgRow) -> Result<Vec<String>> {
    let column = |index| {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            Ok(String::new())
        } else {
            value.as_str().map(str::to_owned).map_err(anyhow::Error::from_boxed)
        }
    };
    (0..row.len()).map(column).collect()
}
