//! The settings that gateway and persistence share, from flags, environment and files. Secrets never appear in Debug
//! output. [`load`] reads the settings and reports all problems at once.

pub mod collector_args;
pub mod declaration;
pub mod load;
pub mod redis_args;
pub mod resolve;
pub mod secret_files;
pub mod table;
pub mod token_args;
mod unknown_variables;

use std::net::SocketAddr;

use clap::Args;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;

pub use crate::problem;
use crate::{auth::CheckedTokenSettings, log::LogLimits, origin::AllowedOrigins, rotation::AcceptedSecrets};
use collector_args::CollectorArgs;
use problem::{Problem, SecretFiles};
use redis_args::RedisArgs;
use token_args::TokenArgs;

pub use unknown_variables::ONE_SERVICE_VARIABLES;

/// Settings of both services: Redis, tokens, origins, limits, listeners, logs, tracing.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Secret that gateways and persistence share for their internal listener; at least 16 bytes. A second line is an
    /// older secret that is still accepted; the file is read again when it changes. See
    /// docs/OPERATIONS.md#replacing-secrets-keys-and-certificates
    #[arg(long, env = "TIDINGS_INTERNAL_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub internal_secret: SecretString,
    #[command(flatten)]
    pub tokens: TokenArgs,
    /// Origins whose pages may connect, comma separated, `https://*.example.com` for all hosts below; `*` for any.
    /// Requests without `Origin` do not come from a page and are always let through. Default: pages of this machine
    /// only
    #[arg(long, env = "TIDINGS_ALLOWED_ORIGINS", value_name = "ORIGINS")]
    pub allowed_origins: Option<String>,
    /// Longest text of a message, in Unicode scalar values; must be the same on all nodes
    #[arg(long, env = "TIDINGS_MAX_MESSAGE_CHARS", default_value_t = 1000, value_name = "CHARACTERS")]
    pub max_message_chars: usize,
    /// Records of one partition that may wait to be stored; above this number senders get `overloaded`
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_RECORDS", default_value_t = 10_000, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_backlog_records: u64,
    /// Bytes of the records of one partition that may wait to be stored, at least 1,048,576; above this number senders
    /// get `overloaded`. There are 64 partitions
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_BYTES", default_value_t = LogLimits::DEFAULT_BACKLOG_BYTES, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(LogLimits::MIN_BACKLOG_BYTES..))]
    pub max_backlog_bytes: u64,
    /// Name of this node in traces, in the list of clients of Redis, and in the table `replicas` of PostgreSQL; clients
    /// see the names of gateways. Default: the listening address
    #[arg(long, env = "TIDINGS_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Address of the operators' listener for health and metrics. Default: the public port + 10000
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// How long a stopping node serves while it reports that it is not ready, up to 600,000, so that load balancers
    /// stop using it before it refuses requests. See docs/OPERATIONS.md#stopping
    #[arg(long, env = "TIDINGS_UNREADY_MS", default_value_t = 0, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub unready_ms: u64,
    /// What is logged, such as `tidings_gateway=debug,info` (tracing's EnvFilter); JSON lines on standard error
    #[arg(long, env = "TIDINGS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    #[command(flatten)]
    pub collector: CollectorArgs,
    /// The files from which secrets were read.
    #[arg(skip)]
    pub secret_files: SecretFiles,
}

impl CommonArgs {
    /// Returns all problems that clap cannot find, such as a short secret. Reads the files that the settings name.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = self.redis.check();
        problems.extend(self.internal_secrets().err());
        if self.max_message_chars == 0 {
            problems.push(Problem::new("max-message-chars", "must be at least 1"));
        }
        problems.extend(self.collector.check());
        problems.extend(self.check_token_settings().err().into_iter().flatten());
        problems.extend(self.origins().err());
        if let Err(error) = EnvFilter::try_new(&self.log) {
            problems.push(Problem::new("log", error));
        }
        problems
    }

    /// The name of this node: the setting, or the address `listen`.
    #[must_use]
    pub fn node_name(&self, listen: SocketAddr) -> String {
        self.node.clone().unwrap_or_else(|| listen.to_string())
    }

    /// The secrets that gateways and persistence share: the one that is sent, and an older one that is accepted.
    pub fn internal_secrets(&self) -> Result<AcceptedSecrets, Problem> {
        AcceptedSecrets::parse(&self.internal_secret).map_err(|why| Problem::new("internal-secret", why))
    }

    /// The limits of the backlog.
    #[must_use]
    pub fn log_limits(&self) -> LogLimits {
        LogLimits { max_backlog_records: self.max_backlog_records, max_backlog_bytes: self.max_backlog_bytes }
    }

    /// Checks the settings of tokens: see [`TokenArgs::checked`].
    pub fn check_token_settings(&self) -> Result<CheckedTokenSettings, Vec<Problem>> {
        self.tokens.checked()
    }

    /// Parses the setting of allowed origins.
    pub fn origins(&self) -> Result<AllowedOrigins, Problem> {
        let origins = self.allowed_origins.as_deref().unwrap_or_default();
        AllowedOrigins::parse(origins).map_err(|error| Problem::new("allowed-origins", error))
    }
}

/// The address of the operators' listener: `given`, or by default the public address `listen` with a port 10000 higher.
pub fn admin_address(listen: SocketAddr, given: Option<SocketAddr>) -> Result<SocketAddr, Problem> {
    let address = given.map_or_else(|| with_port_offset(listen, ADMIN_PORT_OFFSET), Ok);
    address.map_err(|why| Problem::new("admin-listen", why))
}

/// The problems of listeners that cannot listen at the same time, because they have the same port at the same address or
/// at all addresses. `listeners` are settings and their addresses; the later setting of two is reported. Port 0 is never
/// a problem, because the system then chooses another port for each.
pub fn listener_clashes(listeners: &[(&str, SocketAddr)]) -> Vec<Problem> {
    let clash = |a: SocketAddr, b: SocketAddr| {
        let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
        a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && same_ip
    };
    let mut problems = Vec::new();
    for (index, (setting, address)) in listeners.iter().enumerate() {
        if let Some((other, taken)) = listeners[..index].iter().find(|(_, other)| clash(*address, *other)) {
            let why = format!("{address} is taken by --{other} {taken}: give each listener its own port");
            problems.push(Problem::new(setting, why));
        }
    }
    problems
}

/// Difference between the operators' default port and the public port.
const ADMIN_PORT_OFFSET: u16 = 10_000;

/// Returns `address` with its port increased by `offset`. Fails if the port is 0 or would be above 65535.
pub fn with_port_offset(address: SocketAddr, offset: u16) -> Result<SocketAddr, String> {
    let port = address.port().checked_add(offset).filter(|_| address.port() != 0);
    let port = port.ok_or_else(|| {
        format!("{} + {offset} is not a valid port: give the address of this listener", address.port())
    })?;
    Ok(SocketAddr::new(address.ip(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_clash_only_with_the_same_port_and_address() {
        let clashes = |one: &str, other: &str| {
            let listeners = [("listen", one.parse().unwrap()), ("admin-listen", other.parse().unwrap())];
            listener_clashes(&listeners).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let why = "--admin-listen: 127.0.0.1:80 is taken by --listen 127.0.0.1:80:";
        assert!(clashes("127.0.0.1:80", "127.0.0.1:80")[0].starts_with(why));
        assert_eq!(clashes("0.0.0.0:80", "127.0.0.1:80").len(), 1);
        assert_eq!(clashes("[::1]:80", "[::]:80").len(), 1);
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:80", "[::1]:80"),
        ] {
            assert!(clashes(one, other).is_empty(), "{one} {other}");
        }
    }
}
