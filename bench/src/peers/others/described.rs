//! A running server. A file describes its address, its processes and its protocol.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde::Deserialize;
use tidings_harness::token;

use crate::dialect::Dialect;
use crate::peers::RunningServer;
use crate::processes::Process;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// `ws://HOST:PORT`, without a path. The dialect has the path.
    url: String,
    /// The pids of the server, if it runs on this machine. Their CPU time and memory are reported.
    #[serde(default)]
    pids: Vec<u32>,
    /// The secret that signs tokens (HS256), if the server verifies tokens.
    jwt_secret: Option<String>,
    dialect: Dialect,
}

fn read_description(path: &Path) -> Result<Description> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} describes no server", path.display()))
}

/// The name of the server that the file describes.
pub(super) fn server_name(path: &Path) -> Result<String> {
    Ok(read_description(path)?.dialect.name)
}

/// The running server that the file describes. Opens no connection; only looks up the host.
pub(super) async fn running_server(path: &Path) -> Result<RunningServer> {
    let described = read_description(path)?;
    let url = Url::parse(&described.url).with_context(|| format!("{} is no URL", described.url))?;
    ensure!(url.scheme() == "ws", "{url}: ws:// is what can be measured");
    let host = url.host_str().with_context(|| format!("{url} has no host"))?;
    let port = url.port_or_known_default().with_context(|| format!("{url} has no port"))?;
    let found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("look for {host}"))?;
    // Uses only the first address of the host, as the only node.
    let nodes: Vec<_> = found.take(1).collect();
    ensure!(!nodes.is_empty(), "{host} has no address");
    let name = &described.dialect.name;
    Ok(RunningServer {
        nodes,
        processes: described.pids.iter().map(|pid| Process { name: name.clone(), pid: *pid }).collect(),
        jwt_secret: described.jwt_secret.unwrap_or_else(token::secret),
        dialect: described.dialect,
        guards: Vec::new(),
    })
}
