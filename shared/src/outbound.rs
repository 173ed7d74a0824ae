//! The HTTP client for URLs that users and admins register. It connects only to addresses that `address` allows: the
//! resolver drops the others, and the connection uses exactly the addresses that the resolver returns. So a name whose
//! address changes after a check (DNS rebinding) gains nothing. Redirects are answers like others, and never followed.

mod address;
mod answer;

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;
use url::{Host, Url};

use self::address::is_public;
pub use self::answer::{discard_body, parse_retry_after, retry_after};
use crate::{
    http_client,
    tls::{install_provider, read_certificates, trusted_roots},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS_PER_HOST: usize = 4;
/// How often an HTTP/2 connection in use is checked, and how long its answer may take.
#[cfg(feature = "http2")]
const PING_INTERVAL: Duration = Duration::from_secs(30);
#[cfg(feature = "http2")]
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest registered URL, in characters.
const MAX_URL_CHARS: usize = 2048;

/// The reason why a connection was not opened.
#[derive(Debug, Clone, Copy)]
pub struct RefusedAddress;

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no public address")
    }
}

impl StdError for RefusedAddress {}

/// Builds the client. `user_agent` names program and version, `timeout` limits a request from the resolution of the name
/// to the end of the answer, and `ca_file` has authorities (PEM) to trust beside the public ones.
///
/// # Errors
/// When the file is no list of certificates, or TLS cannot be set up.
pub fn build(
    user_agent: &str,
    timeout: Duration,
    ca_file: Option<&Path>,
    allow_private: bool,
) -> Result<Client, String> {
    let resolver = PublicResolver { allow_private, lookup: system_lookup };
    finish(builder(user_agent, timeout, ca_file, &[])?.dns_resolver(Arc::new(resolver)))
}

/// The version of HTTP that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2 from the start. Over TLS it is negotiated (ALPN).
    #[cfg(feature = "http2")]
    Http2,
}

/// Builds a client for hosts that the operator names, which may have private addresses.
///
/// # Errors
/// When the file is no list of certificates, or TLS cannot be set up.
pub fn build_trusting(
    user_agent: &str,
    timeout: Duration,
    ca_file: Option<&Path>,
    protocol: Protocol,
) -> Result<Client, String> {
    match protocol {
        Protocol::Http1 => finish(builder(user_agent, timeout, ca_file, &[])?),
        #[cfg(feature = "http2")]
        Protocol::Http2 => {
            let builder = builder(user_agent, timeout, ca_file, &[b"h2"])?.http2_prior_knowledge();
            // A connection that died without a close is noticed, and not used for the next request.
            finish(builder.http2_keep_alive_interval(PING_INTERVAL).http2_keep_alive_timeout(PING_TIMEOUT))
        }
    }
}

fn builder(
    user_agent: &str,
    timeout: Duration,
    ca_file: Option<&Path>,
    protocols: &[&[u8]],
) -> Result<ClientBuilder, String> {
    install_provider();
    let mut roots = trusted_roots();
    if let Some(file) = ca_file {
        roots.add_parsable_certificates(read_certificates(file)?);
    }
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(http_client::builder()
        .use_preconfigured_tls(tls)
        .user_agent(user_agent)
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST))
}

fn finish(builder: ClientBuilder) -> Result<Client, String> {
    builder
        .build()
        .map_err(|error| format!("the HTTP client cannot be built: {}", http_client::innermost_cause(error)))
}

/// Parses a registered URL. Err is the rule that the URL breaks. The host may still have a private address, which
/// the client notices. A host that is an address is checked here, because the client does not resolve it.
pub fn parse_url(text: &str, allow_private: bool) -> Result<Url, &'static str> {
    if text.chars().count() > MAX_URL_CHARS {
        return Err("url must not be over 2048 characters");
    }
    let url = Url::parse(text).map_err(|_| "url must be an absolute URL")?;
    if url.scheme() != "https" && !(allow_private && url.scheme() == "http") {
        return Err("url must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("url must have no user, no password and no fragment");
    }
    let literal = match url.host() {
        None => return Err("url must have a host"),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    if literal.is_some_and(|address| !allow_private && !is_public(address)) {
        return Err("url must have a public address");
    }
    Ok(url)
}

/// Whether an error, or one of its causes, is a refused address.
pub fn is_refused_address(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<RefusedAddress>() {
            return true;
        }
        cause = error.source();
    }
    false
}

type Lookup<F> = fn(String) -> F;

/// Resolves names, and leaves out addresses that are not public.
struct PublicResolver<F> {
    allow_private: bool,
    lookup: Lookup<F>,
}

async fn system_lookup(host: String) -> std::io::Result<Vec<SocketAddr>> {
    // Port 0 makes the client use the port of the URL.
    Ok(tokio::net::lookup_host((host, 0)).await?.collect())
}

impl<F> Resolve for PublicResolver<F>
where
    F: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allow_private) = ((self.lookup)(name.as_str().to_owned()), self.allow_private);
        Box::pin(async move {
            let mut addresses = found.await?;
            addresses.retain(|address| allow_private || is_public(address.ip()));
            if addresses.is_empty() {
                return Err(RefusedAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
