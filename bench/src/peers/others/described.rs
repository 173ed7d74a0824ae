//! A running server that a file describes: its address, its processes, its protocol.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde::Deserialize;
use tidings_harness::token;

use crate::dialect::Dialect;
use crate::peers::Running;
use crate::processes::Process;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// `ws://HOST:PORT`; the dialect has the path.
    url: String,
    /// Its processes, if they run on this machine; their CPU time and memory are reported.
    #[serde(default)]
    pids: Vec<u32>,
    /// Its secret for tokens (HS256), if it verifies them.
    jwt_secret: Option<String>,
    dialect: Dialect,
}

fn description(path: &Path) -> Result<Description> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} describes no server", path.display()))
}

pub(super) fn name_of(path: &Path) -> Result<String> {
    Ok(description(path)?.dialect.name)
}

pub(super) async fn read(path: &Path) -> Result<Running> {
    let described = description(path)?;
    let url = Url::parse(&described.url).with_context(|| format!("{} is no URL", described.url))?;
    ensure!(url.scheme() == "ws", "{url}: ws:// is what can be measured");
    let host = url.host_str().with_context(|| format!("{url} has no host"))?;
    let port = url.port_or_known_default().with_context(|| format!("{url} has no port"))?;
    let found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("look for {host}"))?;
    // One node: the first address of the host.
    let nodes: Vec<_> = found.take(1).collect();
    ensure!(!nodes.is_empty(), "{host} has no address");
    let name = &described.dialect.name;
    Ok(Running {
        nodes,
        processes: described.pids.iter().map(|pid| Process { name: name.clone(), pid: *pid }).collect(),
        jwt_secret: described.jwt_secret.unwrap_or_else(token::secret),
        dialect: described.dialect,
        kept: Vec::new(),
    })
}
