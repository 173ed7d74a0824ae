//! A program beside persistence as a child process: `tidings-files`, `tidings-webhooks`, `tidings-push`.
//! Touches only processes, the network and the folder of a stack.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::node::{is_ready, program, set_environment};
use crate::{Http, Stack, ports};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// A running replica of a program.
pub struct CompanionNode {
    daemon: Daemon,
    public: u16,
    admin: u16,
}

impl CompanionNode {
    /// Starts a replica of `program` on free ports. Its log is `NAME.log` in the folder of the stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s; with the end of its log.
    pub async fn start(
        stack: &Stack,
        program_name: &str,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<CompanionNode> {
        let (public, admin) = (ports::free()?, ports::free()?);
        let prefix = program_name.replace('-', "_").to_uppercase();
        let mut environment: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.push((format!("{prefix}_LISTEN"), format!("127.0.0.1:{public}")));
        environment.push((format!("{prefix}_ADMIN_LISTEN"), format!("127.0.0.1:{admin}")));
        let program = program(program_name)?;
        let log = stack.folder().join(format!("{name}.log"));
        let daemon = Daemon::new(name, log, Signal::SIGKILL, move || {
            let mut command = Command::new(&program);
            set_environment(&mut command, &environment);
            command
        });
        let node = CompanionNode { daemon, public, admin };
        node.start_again().await?;
        Ok(node)
    }

    /// Starts the replica on the same ports after it ended.
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub async fn start_again(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.until_ready(READY_TIMEOUT, || is_ready(self.admin)).await
    }

    /// The port of the API on 127.0.0.1.
    pub fn public_port(&self) -> u16 {
        self.public
    }

    /// The port of health and metrics on 127.0.0.1.
    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// The process, while it runs or is paused.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The API with this token.
    pub fn http(&self, token: &str) -> Http {
        Http::new(&format!("http://127.0.0.1:{}", self.public), token)
    }

    /// Kills the replica with SIGKILL.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Pauses the replica with SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// Resumes the replica with SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }

    /// Stops the replica with SIGTERM.
    ///
    /// # Errors
    /// When it had not ended after 40 s and was killed.
    pub async fn stop(&self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, STOP_TIMEOUT).await
    }

    /// Starts the replica again on the same ports. If it still runs, it is stopped first.
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// The page of metrics.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        Ok(crate::http::get(&url).await?.error_for_status()?.text().await?)
    }

    /// The whole log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.daemon.log())?)
    }
}
