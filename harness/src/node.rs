//! A gateway or persistence node as a child process. It is configured only by its environment, and keeps its ports over
//! restarts. Guarantees that the node is ready, as its admin listener reports, when `start` and `restart` return.

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

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
const MAX_PORT_TRIES: u32 = 5;

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The service that holds the connections of clients.
    Gateway,
    /// The service that writes and reads the history.
    Persistence,
}

impl Service {
    /// The name of the service's program.
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
    /// The public listener.
    pub public: u16,
    /// The admin listener, for health and metrics.
    pub admin: u16,
    /// The internal listener, which only persistence has. Gateways send their requests to it.
    pub internal: u16,
}

impl Ports {
    /// Three free ports.
    ///
    /// # Errors
    /// When not enough ports are free.
    pub fn free() -> Result<Ports> {
        Ok(Ports { public: ports::free()?, admin: ports::free()?, internal: ports::free()? })
    }
}

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
    /// When the program is missing, or the node is not ready in 30 s; with the end of its log.
    pub async fn start(
        service: Service,
        folder: &Path,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Node> {
        Self::start_under(&[], service, folder, name, settings).await
    }

    /// Like [`Node::start`], but runs the node under another program, such as `valgrind`. `launcher` is this program
    /// with its arguments. An empty launcher changes nothing.
    pub async fn start_under(
        launcher: &[String],
        service: Service,
        folder: &Path,
        name: &str,
        settings: &[(String, String)],
    ) -> Result<Node> {
        let mut tries = MAX_PORT_TRIES;
        loop {
            let started = Self::start_with(launcher, Ports::free()?, service, folder, name, settings).await;
            match started {
                Err(error) if tries > 0 && format!("{error:#}").contains("in use") => tries -= 1,
                started => return started,
            }
        }
    }

    /// Starts a node on these ports.
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
        let mut environment = listener_settings(service, ports);
        environment.extend_from_slice(settings);
        let clock = WallClock::of(folder, name);
        let process_clock = clock.clone();
        let daemon = Daemon::new(name, folder.join(format!("{name}.log")), Signal::SIGKILL, move || {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            set_environment(&mut command, &environment);
            process_clock.apply_to(&mut command);
            command
        });
        let node = Node { service, ports, daemon, clock };
        node.start_and_wait().await?;
        Ok(node)
    }

    async fn start_and_wait(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.until_ready(READY_TIMEOUT, || is_ready(self.ports.admin)).await
    }

    /// The service of this node.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The node's ports.
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

    /// The internal listener's URL, without a path. Only persistence has this listener.
    pub fn internal(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.internal)
    }

    /// The node's pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Waits until `GET /readyz` answers 200.
    ///
    /// # Errors
    /// When the node is not ready in 30 s; with the end of its log.
    pub async fn until_ready(&self) -> Result<()> {
        self.daemon.until_ready(READY_TIMEOUT, || is_ready(self.ports.admin)).await
    }

    /// Kills the node with SIGKILL.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Sends SIGTERM, after which the node drains, and waits until it ends.
    ///
    /// # Errors
    /// When the node had not ended after 40 s and was killed.
    pub async fn stop(&self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, STOP_TIMEOUT).await
    }

    /// Sends SIGTERM and returns at once, so that a test can observe the drain.
    pub fn terminate(&self) -> Result<()> {
        self.daemon.signal(Signal::SIGTERM)
    }

    /// Starts the node again on the same ports. If it still runs, it is stopped first.
    ///
    /// # Errors
    /// When the node is not ready in 30 s.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start_and_wait().await
    }

    /// Pauses the node with SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// Resumes the node with SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }

    /// The node's wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// The metrics page of the admin listener.
    pub async fn metrics(&self) -> Result<String> {
        Ok(crate::http::get(&format!("{}/metrics", self.admin())).await?.error_for_status()?.text().await?)
    }

    /// The node's whole log.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.daemon.log())?)
    }
}

/// The settings that give a service these ports.
pub(crate) fn listener_settings(service: Service, ports: Ports) -> Vec<(String, String)> {
    let mut settings = vec![
        ("TIDINGS_LISTEN".to_owned(), format!("127.0.0.1:{}", ports.public)),
        ("TIDINGS_ADMIN_LISTEN".to_owned(), format!("127.0.0.1:{}", ports.admin)),
    ];
    if service == Service::Persistence {
        settings.push(("TIDINGS_INTERNAL_LISTEN".to_owned(), format!("127.0.0.1:{}", ports.internal)));
    }
    settings
}

/// Gives a child these settings, and from this process's environment only the variables that programs need. Otherwise a
/// `REDIS_URL` in the developer's environment would affect a test.
pub(crate) fn set_environment(command: &mut Command, settings: &[(String, String)]) {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
}

/// Whether the admin listener on this port reports that the node is ready.
pub(crate) async fn is_ready(admin: u16) -> bool {
    let client = crate::http::client_within(Duration::from_secs(2));
    let answer = client.get(format!("http://127.0.0.1:{admin}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

/// The path of a program of the workspace: in `TIDINGS_BIN_DIR` if it is set, else next to the running program. For a
/// test, this is the folder above the test's.
///
/// # Errors
/// When the program has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("TIDINGS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => folder::build_folder()?,
    };
    let path = folder.join(name);
    ensure!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    Ok(path)
}
