//! Settings of the probe, from flags and environment. Secrets are only in files, which each round reads again.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser};
use jsonwebtoken::Algorithm;
use serde_json::json;
use tidings_shared::{
    config::problem::{Check, Problem},
    tls::read_certificates,
};
use tracing_subscriber::EnvFilter;

use crate::{
    credentials::Credentials,
    endpoint::{Endpoint, Scheme},
};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")");
/// Bounds of the interval between rounds. The alert about a stalled probe waits five minutes for a round.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=120_000;
const STEP_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// Uses an installation of Tidings as a client does, and measures each step; without a command it runs for ever
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-probe", version = VERSION)]
pub struct Config {
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Time from the start of a round to the start of the next, 100 to 120,000
    #[arg(long, env = "TIDINGS_PROBE_INTERVAL_MS", default_value_t = 15_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(INTERVAL_MS))]
    pub interval_ms: u64,
    /// Where the probe serves `/healthz`, `/readyz` and `/metrics`
    #[arg(long, env = "TIDINGS_PROBE_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// What is logged, such as `debug` (tracing's EnvFilter); JSON lines on standard error
    #[arg(long, env = "TIDINGS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

/// The installation to probe, and the user of the probe.
#[derive(Debug, Clone, Args)]
pub struct ProbeArgs {
    /// Public address of the installation, such as `https://chat.example.com`
    #[arg(long, env = "TIDINGS_PROBE_URL", value_name = "URL")]
    pub url: String,
    /// Address for WebSockets, such as `wss://chat.example.com`. Default: that of `--url`
    #[arg(long, env = "TIDINGS_PROBE_WS_URL", value_name = "URL")]
    pub ws_url: Option<String>,
    /// Host to connect to. The ports, and the name that the certificate must have, are still those of the addresses
    #[arg(long, env = "TIDINGS_PROBE_CONNECT_TO", value_name = "HOST")]
    pub connect_to: Option<String>,
    /// File with certificate authorities (PEM) to trust beside the public ones
    #[arg(long, env = "TIDINGS_PROBE_CA_FILE", value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
    /// File with the token of the probe, read in each round. This or `--signing-key-file` is required
    #[arg(long, env = "TIDINGS_PROBE_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// File with the key by which the probe signs its tokens, read in each round: the secret of HMAC, or a private key
    /// as PEM (PKCS#8; PKCS#1 for RSA)
    #[arg(long, env = "TIDINGS_PROBE_SIGNING_KEY_FILE", value_name = "PATH")]
    pub signing_key_file: Option<PathBuf>,
    /// Algorithm of `--signing-key-file`: HS256, HS384, HS512, RS256, ES256, ES384 or EdDSA
    #[arg(long, env = "TIDINGS_PROBE_SIGNING_ALGORITHM", default_value = "HS256", value_name = "NAME")]
    pub signing_algorithm: String,
    /// Id of the key (`kid`) in tokens that the probe signs
    #[arg(long, env = "TIDINGS_PROBE_SIGNING_KEY_ID", value_name = "ID")]
    pub signing_key_id: Option<String>,
    /// Issuer (`iss`) of tokens that the probe signs
    #[arg(long, env = "TIDINGS_PROBE_TOKEN_ISSUER", value_name = "ISSUER")]
    pub token_issuer: Option<String>,
    /// Audience (`aud`) of tokens that the probe signs
    #[arg(long, env = "TIDINGS_PROBE_TOKEN_AUDIENCE", value_name = "AUDIENCE")]
    pub token_audience: Option<String>,
    /// User of the probe; its room is the direct room with the user of this name and `-peer`
    #[arg(long, env = "TIDINGS_PROBE_USER", default_value = "tidings-probe", value_name = "USER_ID")]
    pub user: String,
    /// How long a step may take, 100 to 60,000
    #[arg(long, env = "TIDINGS_PROBE_STEP_TIMEOUT_MS", default_value_t = 5_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(STEP_TIMEOUT_MS))]
    pub step_timeout_ms: u64,
}

impl ProbeArgs {
    /// The address for requests over HTTP.
    pub fn http_endpoint(&self) -> Result<Endpoint, Problem> {
        Endpoint::parse(&self.url, Scheme::Http).map_err(|why| Problem::new("url", why))
    }

    /// The address for WebSockets.
    pub fn ws_endpoint(&self) -> Result<Endpoint, Problem> {
        match self.ws_url.as_deref().filter(|url| !url.is_empty()) {
            Some(url) => Endpoint::parse(url, Scheme::WebSocket).map_err(|why| Problem::new("ws-url", why)),
            None => self.http_endpoint().map(Endpoint::for_websockets),
        }
    }

    /// The source of the token. Fails unless exactly one of `--token-file` and `--signing-key-file` is given.
    pub fn credentials(&self) -> Result<Credentials, Problem> {
        match (&self.token_file, &self.signing_key_file) {
            (Some(_), Some(_)) => {
                Err(Problem::new("token-file", "give this or --signing-key-file, not both"))
            }
            (None, None) => Err(Problem::new("token-file", "this or --signing-key-file must be given")),
            (Some(file), None) => Ok(Credentials::TokenFile(file.clone())),
            (None, Some(file)) => {
                let algorithm = Algorithm::from_str(&self.signing_algorithm)
                    .map_err(|_| Problem::new("signing-algorithm", "is not the name of an algorithm"))?;
                let mut claims = json!({"sub": self.user, "name": "Tidings probe"});
                for (name, value) in [("iss", &self.token_issuer), ("aud", &self.token_audience)] {
                    if let Some(value) = value {
                        claims[name] = json!(value);
                    }
                }
                Ok(Credentials::signed(file.clone(), algorithm, self.signing_key_id.clone(), claims))
            }
        }
    }

    pub fn step_timeout(&self) -> Duration {
        Duration::from_millis(self.step_timeout_ms)
    }
}

impl Check for ProbeArgs {
    fn check(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.http_endpoint().err().into_iter().collect();
        if self.ws_url.is_some() {
            problems.extend(self.ws_endpoint().err());
        }
        let credentials = self.credentials().and_then(|credentials| {
            credentials
                .token()
                .map(drop)
                .map_err(|failure| Problem::new(credentials.setting(), failure.message))
        });
        problems.extend(credentials.err());
        if let Some(file) = &self.ca_file {
            problems.extend(read_certificates(file).err().map(|why| Problem::new("ca-file", why)));
        }
        let is_address = |host: &Endpoint| host.host.parse::<std::net::IpAddr>().is_ok();
        if self.connect_to.is_some() && self.http_endpoint().is_ok_and(|endpoint| is_address(&endpoint)) {
            problems.push(Problem::new("connect-to", "needs a host name in --url"));
        }
        if self.user.is_empty() {
            problems.push(Problem::new("user", "must not be empty"));
        }
        problems
    }
}

impl Check for Config {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.probe.check();
        if let Err(error) = EnvFilter::try_new(&self.log) {
            problems.push(Problem::new("log", error));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(arguments: &[&str]) -> Vec<String> {
        let base = ["tidings-probe", "--url=https://chat.example.com"];
        let config = Config::try_parse_from(base.iter().chain(arguments)).unwrap();
        config.check().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wrong_setting_is_named() {
        for (arguments, named) in [
            (&["--token-file=/nowhere/token"][..], "--token-file"),
            (&["--signing-key-file=/nowhere/key"], "--signing-key-file"),
            (&[], "--token-file"),
            (&["--token-file=/dev/null", "--signing-key-file=/dev/null"], "--token-file"),
            (&["--token-file=/nowhere", "--ws-url=https://chat.example.com"], "--ws-url"),
            (&["--token-file=/nowhere", "--ca-file=/nowhere"], "--ca-file"),
            (&["--token-file=/nowhere", "--log=a=b=c"], "--log"),
            (&["--signing-key-file=/dev/null", "--signing-algorithm=none"], "--signing-algorithm"),
        ] {
            let problems = problems(arguments);
            assert!(problems.iter().any(|problem| problem.starts_with(named)), "{arguments:?}: {problems:?}");
        }
    }
    #[test]
    fn other_host_than_that_of_an_address_is_refused() {
        let arguments = ["tidings-probe", "--url=https://[::1]", "--connect-to=edge"];
        let problems = Config::try_parse_from(arguments).unwrap().check();
        assert!(
            problems.iter().any(|problem| problem.to_string().starts_with("--connect-to")),
            "{problems:?}"
        );
    }
}
