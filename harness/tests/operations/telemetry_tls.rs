//! Export to a collector over TLS: the certificate is verified.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::sink::render_trace_tree;
use tidings_harness::{Sink, Stack, tls};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn spans_are_exported_only_to_a_trusted_tls_collector() -> Result<()> {
    let folder = tidings_harness::folder::Folder::new()?;
    let [ca, other_ca] = ["ca.pem", "other-ca.pem"].map(|name| folder.path().join(name));
    std::fs::write(&ca, tls::authority()?.pem())?;
    std::fs::write(&other_ca, tls::Authority::new("somebody else")?.pem())?;
    for (name, authority, trusted) in
        [("localhost", &ca, true), ("localhost", &other_ca, false), ("other.example", &ca, false)]
    {
        let sink = Sink::start_tls(name).await?;
        // The name in the certificate may differ from the host in the endpoint.
        let endpoint = sink.endpoint().replace(name, "localhost");
        let stack = Stack::builder().env("TIDINGS_OTLP_ENDPOINT", endpoint).env("TIDINGS_TRACE_RATIO", 1);
        let stack = stack.env("TIDINGS_OTLP_CA_FILE", authority.display()).start().await?;
        stack.connect("ann").await?.ping().await?;
        if trusted {
            sink.until(WAIT_TIMEOUT, |spans| spans.iter().any(|span| span.name == "connect")).await?;
            continue;
        }
        let begun = Instant::now();
        while !stack.gateway(0).log()?.contains("spans cannot be exported") {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "{}", stack.gateway(0).log()?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(sink.spans().is_empty(), "{name}: {}", render_trace_tree(&sink.spans()));
    }
    Ok(())
}
