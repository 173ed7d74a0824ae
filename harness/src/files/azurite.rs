//! Azurite, Microsoft's server with the protocol of Azure Blob Storage, as a child process with one container.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::sys::signal::Signal;
use reqwest::{Client, Method};

use crate::daemon::Daemon;
use crate::{Stack, ports};

/// The variable with the path of the program; `./dev test` sets it.
const PROGRAM_VARIABLE: &str = "TIDINGS_AZURITE";
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The account and the key that Azurite documents.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER: &str = "tidings-files";
const PREFIX: &str = "tests";
/// The version of the Azure API that signatures and requests name.
const VERSION: &str = "2021-08-06";

/// A running server.
pub struct Azurite {
    daemon: Daemon,
    port: u16,
    root: PathBuf,
    client: Client,
}

impl Azurite {
    /// Starts a server with an empty container, in the folder of a stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 60 s.
    pub async fn start(stack: &Stack) -> Result<Azurite> {
        let program = std::env::var_os(PROGRAM_VARIABLE).with_context(|| {
            format!("{PROGRAM_VARIABLE} is not set: `./dev test files_cloud` installs the server and runs these tests")
        })?;
        let (port, root) = (ports::free()?, stack.folder().join("azurite"));
        std::fs::create_dir_all(&root)?;
        let location = root.clone();
        let daemon = Daemon::new("azurite", stack.folder().join("azurite.log"), Signal::SIGKILL, move || {
            let mut command = Command::new("node");
            command.arg(&program).args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
            command
                .args(["--skipApiVersionCheck", "--disableTelemetry", "--silent", "--location"])
                .arg(&location);
            command
        });
        let client = crate::http::client_within(Duration::from_secs(30));
        let server = Azurite { daemon, port, root, client };
        server.start_again().await?;
        server.send(Method::PUT, "", "restype=container", None).await?;
        Ok(server)
    }

    /// Starts the server again after it ended.
    ///
    /// # Errors
    /// When it is not ready in 60 s.
    pub async fn start_again(&self) -> Result<()> {
        self.daemon.start()?;
        // Any answer shows that it is ready.
        let is_ready = || async { self.client.get(self.address()).send().await.is_ok() };
        self.daemon.until_ready(READY_TIMEOUT, is_ready).await
    }

    /// Stops the server with SIGTERM, because SIGKILL would lose its writes of the last seconds.
    pub(super) async fn stop(&self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, READY_TIMEOUT).await
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TIDINGS_FILES_BUCKET", format!("az://{CONTAINER}/{PREFIX}")),
            ("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()),
            ("AZURITE_BLOB_STORAGE_URL", self.address()),
        ]
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.root.clone()
    }

    pub(super) async fn objects(&self, file: &str) -> Result<Vec<String>> {
        let list = self.send(Method::GET, "", "restype=container&comp=list", None).await?;
        let last = |name: String| name.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(names(&list).map(last).filter(|name| name.starts_with(file)).collect())
    }

    /// Counts the blobs that have only uncommitted blocks.
    pub(super) async fn open_uploads(&self) -> Result<usize> {
        let query = "restype=container&comp=list&include=uncommittedblobs";
        let all = self.send(Method::GET, "", query, None).await?;
        let whole = self.send(Method::GET, "", "restype=container&comp=list", None).await?;
        Ok(names(&all).count().saturating_sub(names(&whole).count()))
    }

    pub(super) async fn replace(&self, object: &str, content: &[u8]) -> Result<()> {
        self.send(Method::PUT, &format!("/{PREFIX}/{object}"), "", Some(content)).await.map(drop)
    }

    /// Sends a request about the container or an object in it, with a shared access signature of the account
    /// (<https://learn.microsoft.com/rest/api/storageservices/create-account-sas>).
    async fn send(&self, method: Method, path: &str, query: &str, content: Option<&[u8]>) -> Result<String> {
        let (permissions, services, types, expiry) = ("rwdlac", "b", "sco", "2099-01-01T00:00:00Z");
        let text = format!("{ACCOUNT}\n{permissions}\n{services}\n{types}\n\n{expiry}\n\n\n{VERSION}\n\n");
        let signature =
            STANDARD.encode(sign(&Key::new(HMAC_SHA256, &STANDARD.decode(KEY)?), text.as_bytes()));
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let url = format!(
            "{}/{ACCOUNT}/{CONTAINER}{path}?{query}&sv={VERSION}&ss={services}&srt={types}&sp={permissions}\
             &se={expiry}&sig={signature}",
            self.address()
        );
        let mut request = self.client.request(method, url).header("x-ms-version", VERSION);
        if let Some(content) = content {
            request = request.header("x-ms-blob-type", "BlockBlob").body(content.to_vec());
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status}: {text}");
        Ok(text)
    }
}

/// The names in a list of objects.
fn names(list: &str) -> impl Iterator<Item = String> {
    list.split("<Name>").skip(1).filter_map(|rest| rest.split("</Name>").next()).map(str::to_owned)
}
