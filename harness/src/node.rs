//! A gateway or persistence node as a child process, configured only by its environment, on ports that do not change.
//! Touches the programs in the target folder and a log file. Guarantees that a node is ready, by its admin listener,
//! when
//! `start` and `restart` return.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::folder;
use crate::ports;
use crate::wall_clock::WallClock;

const READY_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(40);
const PORT_TRIES: u32 = 5;

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Holds the connections.
    Gateway,
    /// Writes and reads the history.
    Persistence,
}

impl Service {
    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Service::Gateway => "tidings-gateway",
            Service::Persistence => "tidings-persistence",
        }
    }
}

/// The ports of a node on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Public listener.
    pub public: u16,
    /// Health and metrics.
    pub admin: u16,
    /// The internal listener for gateways (persistence).
    pub internal: u16,
}

impl Ports {
    /// Three free ports.
    ///
    /// # Errors
    /// When there are none.
    pub fn free() -> Result<Ports> {
        Ok(Ports { public: ports::free()?, admin: ports::free()?, internal: ports::free()? })
    }
}

/// One node.
pub struct Node {
    service: Service,
    ports: Ports,
    daemon: Daemon,
    clock: WallClock,
}

impl Node {
    /// Starts a node on free ports; its log is `FOLDER/NAME.log`.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s (with the end of its log).
    pub async fn start(
        service: Service,
        folder: &Path,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Node> {
        Self::start_under(&[], service, folder, name, settings).await
    }

    /// Like [`Node::start`], as the argument of another program such as `valgrind`; an empty launcher changes nothing.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_under(
        launcher: &[String],
        service: Service,
        folder: &Path,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Node> {
        let mut tries = PORT_TRIES;
        loop {
            let started = Self::start_with(launcher, Ports::free()?, service, folder, name, settings).await;
            match started {
                Err(error) if tries > 0 && format!("{error:#}").contains("in use") => tries -= 1,
                started => return started,
            }
        }
    }

    /// Starts a node on these ports.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_on(
        ports: Ports,
        service: Service,
        folder: &Path,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Node> {
        Self::start_with(&[], ports, service, folder, name, settings).await
    }

    async fn start_with(
        launcher: &[String],
        ports: Ports,
        service: Service,
        folder: &Path,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Node> {
        let program = program(service.program())?.into_os_string();
        let words: Vec<_> = launcher.iter().map(OsString::from).chain([program]).collect();
        let mut environment = listeners(service, ports);
        environment.extend_from_slice(settings);
        let clock = WallClock::of(folder, name);
        let its_clock = clock.clone();
        let daemon = Daemon::new(name, folder.join(format!("{name}.log")), Signal::SIGKILL, move || {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            with_environment(&mut command, &environment);
            its_clock.give_to(&mut command);
            command
        });
        let node = Node { service, ports, daemon, clock };
        node.up().await?;
        Ok(node)
    }

    async fn up(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.until_ready(READY_PATIENCE, || is_ready(self.ports.admin)).await
    }

    /// Which service it is.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Its ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.public)
    }

    /// `ws://127.0.0.1:PORT/v1/ws`
    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/ws", self.ports.public)
    }

    /// The admin listener's URL, without a path.
    pub fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    /// The internal listener's URL, without a path (persistence).
    pub fn internal(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.internal)
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Waits until `GET /readyz` says 200.
    ///
    /// # Errors
    /// After 30 s, with the end of its log.
    pub async fn until_ready(&self) -> Result<()> {
        self.daemon.until_ready(READY_PATIENCE, || is_ready(self.ports.admin)).await
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// SIGTERM: it drains and ends.
    ///
    /// # Errors
    /// When it had to be killed after 40 s.
    pub async fn stop(&self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, STOP_PATIENCE).await
    }

    /// Sends SIGTERM without waiting, to watch it drain.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> Result<()> {
        self.daemon.signal(Signal::SIGTERM)
    }

    /// Starts it again on the same ports (drains it first when it runs).
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.up().await
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }

    /// Its wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// The metrics page of the admin listener.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(crate::http::get(&format!("{}/metrics", self.admin())).await?.error_for_status()?.text().await?)
    }

    /// Its whole log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.daemon.log())?)
    }
}

/// The settings for a service's ports.
pub(crate) fn listeners(service: Service, ports: Ports) -> Vec<(String, String)> {
    let mut settings = vec![
        ("TIDINGS_LISTEN".to_owned(), format!("127.0.0.1:{}", ports.public)),
        ("TIDINGS_ADMIN_LISTEN".to_owned(), format!("127.0.0.1:{}", ports.admin)),
    ];
    if service == Service::Persistence {
        settings.push(("TIDINGS_INTERNAL_LISTEN".to_owned(), format!("127.0.0.1:{}", ports.internal)));
    }
    settings
}

/// Gives a child exactly these settings, and from our environment only what programs need: a `REDIS_URL` in our
/// environment must not affect a test.
pub(crate) fn with_environment(command: &mut Command, settings: &[(String, String)]) {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
}

/// Whether the admin listener on this port reports "ready".
pub(crate) async fn is_ready(admin: u16) -> bool {
    let client = crate::http::client_within(Duration::from_secs(2));
    let answer = client.get(format!("http://127.0.0.1:{admin}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

/// The path of a program of the workspace: in `TIDINGS_BIN_DIR`, else next to the running program (for a test, in the
/// folder above).
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("TIDINGS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => folder::target()?,
    };
    let path = folder.join(name);
    ensure!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    Ok(path)
}
