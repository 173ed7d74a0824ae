//! A server with the protocol of S3 as a child process, versitygw, with one bucket. Its objects are files in a folder
//! of the stack, so a test sees them without a client. Touches only the process and this folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::{Stack, ports};

/// The variable with the path of the program; `./dev test` and `./dev faults --bucket` set it.
const PROGRAM_VARIABLE: &str = "TIDINGS_S3_SERVER";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const BUCKET: &str = "tidings-files";
pub(super) const PREFIX: &str = "tests";
pub(super) const KEY: &str = "tests";
pub(super) const SECRET: &str = "the secret of the bucket of tests";

/// A running server.
pub struct S3Server {
    daemon: Daemon,
    port: u16,
    root: PathBuf,
}

impl S3Server {
    /// Starts a server with an empty bucket, in the folder of a stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s.
    pub async fn start(stack: &Stack) -> Result<S3Server> {
        let program = std::env::var_os(PROGRAM_VARIABLE).with_context(|| {
            format!(
                "{PROGRAM_VARIABLE} is not set: `./dev test` and `./dev faults --bucket` install the server"
            )
        })?;
        let (port, root) = (ports::free()?, stack.folder().join("s3"));
        std::fs::create_dir_all(root.join("buckets").join(BUCKET))?;
        std::fs::create_dir_all(root.join("metadata"))?;
        let launched = root.clone();
        let daemon = Daemon::new("s3", stack.folder().join("s3.log"), Signal::SIGKILL, move || {
            let mut command = Command::new(&program);
            command.env_clear().args([
                "--port",
                &format!("127.0.0.1:{port}"),
                "--health",
                "/health",
                "--quiet",
            ]);
            command.args(["--access", KEY, "--secret", SECRET, "posix", "--sidecar"]);
            command.arg(launched.join("metadata")).arg(launched.join("buckets"));
            command
        });
        let server = S3Server { daemon, port, root };
        server.start_again().await?;
        Ok(server)
    }

    /// Starts the server again after it ended.
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub async fn start_again(&self) -> Result<()> {
        self.daemon.start()?;
        let client = crate::http::client_within(Duration::from_secs(2));
        let url = format!("{}/health", self.url());
        let is_ready = || async { client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) };
        self.daemon.until_ready(READY_TIMEOUT, is_ready).await
    }

    /// Kills the server.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Pauses the server with SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// Resumes the server with SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }

    /// The address of the server, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The settings of `tidings-files` for the bucket.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TIDINGS_FILES_BUCKET", format!("s3://{BUCKET}/{PREFIX}")),
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// The names of the objects of a file, in order.
    pub(super) fn objects(&self, file: &str) -> Result<Vec<String>> {
        let folder = self.path_of(file).parent().map(Path::to_owned).unwrap_or_default();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| name.starts_with(file));
        names.sort();
        Ok(names)
    }

    /// Drops the parts of all uploads that are not completed.
    pub(super) fn drop_uploads(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder().join(".sgwtmp").join("multipart"))?)
    }

    /// The folder of the objects of the bucket.
    pub fn folder(&self) -> PathBuf {
        self.root.join("buckets").join(BUCKET)
    }

    /// Where the object of a file is.
    pub fn path_of(&self, file: &str) -> PathBuf {
        let digits = &file[file.len() - 4..];
        self.folder().join(PREFIX).join(&digits[..2]).join(&digits[2..]).join(file)
    }

    /// The number of parts of uploads that are neither completed nor aborted.
    ///
    /// # Errors
    /// When the folder of the server cannot be read.
    pub fn stored_parts(&self) -> Result<usize> {
        let folder = self.folder().join(".sgwtmp").join("multipart");
        if folder.is_dir() { count_files(&folder) } else { Ok(0) }
    }
}

fn count_files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        ensure!(!path.is_symlink(), "a link in the folder of the server: {}", path.display());
        count += if path.is_dir() { count_files(&path)? } else { 1 };
    }
    Ok(count)
}
