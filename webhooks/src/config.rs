//! Settings of the webhooks, from flags, environment and files.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use tidings_persistence::database::DatabaseArgs;
use tidings_persistence::writer::users::AccountArgs;
use tidings_shared::{
    config::{
        admin_address, listener_clashes,
        problem::{Check, Problem, SecretFiles},
        token_args::TokenArgs,
    },
    tls::read_certificates,
};
use tracing_subscriber::EnvFilter;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")");
/// The pauses that Standard Webhooks recommends: an endpoint may be away for about three days.
const DEFAULT_RETRY_DELAYS_S: &str = "5,300,1800,7200,18000,36000,50400,72000,86400";
const MAX_RETRIES: usize = 30;
/// Longest pause between two attempts, whatever the settings or an endpoint ask for.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Sends the events of Tidings to HTTP endpoints, and serves the API of these endpoints
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-webhooks", version = VERSION)]
pub struct Config {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub tokens: TokenArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// Where the API of the endpoints is served
    #[arg(long, env = "TIDINGS_WEBHOOKS_LISTEN", default_value = "127.0.0.1:8083", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of the operators' listener for health and metrics. Default: the port of `--listen` + 10000
    #[arg(long, env = "TIDINGS_WEBHOOKS_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Allow endpoints with `http` and in private networks, such as an intranet. Admins who register endpoints can then
    /// send requests to every address that this program reaches
    #[arg(long, env = "TIDINGS_WEBHOOKS_ALLOW_PRIVATE", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub allow_private: bool,
    /// File with certificate authorities (PEM) to trust beside the public ones
    #[arg(long, env = "TIDINGS_WEBHOOKS_CA_FILE", value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
    /// How long an attempt may take, from the resolution of the name to the end of the answer, 100 to 60,000
    #[arg(long, env = "TIDINGS_WEBHOOKS_TIMEOUT_MS", default_value_t = 15_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub timeout_ms: u64,
    /// Pauses before the second and each later attempt, comma separated. After the attempt that follows the last pause
    /// the event becomes a dead letter
    #[arg(long, env = "TIDINGS_WEBHOOKS_RETRY_DELAYS_S", default_value = DEFAULT_RETRY_DELAYS_S, value_name = "SECONDS")]
    pub retry_delays_s: String,
    /// Attempts that a replica makes at the same time for one endpoint, 1 to 64
    #[arg(long, env = "TIDINGS_WEBHOOKS_CONCURRENCY", default_value_t = 8, value_name = "ATTEMPTS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrency: u16,
    /// Events of one endpoint that wait for an attempt, 1 to 100,000. Above this number the endpoint's cursor waits
    #[arg(long, env = "TIDINGS_WEBHOOKS_MAX_PENDING", default_value_t = 10_000, value_name = "EVENTS", value_parser = clap::value_parser!(i64).range(1..=100_000))]
    pub max_pending: i64,
    /// Dead letters of one endpoint, 1 to 1,000,000. The endpoint is disabled when it has this many
    #[arg(long, env = "TIDINGS_WEBHOOKS_MAX_DEAD", default_value_t = 10_000, value_name = "EVENTS", value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub max_dead: i64,
    /// What is logged, such as `debug` (tracing's EnvFilter); JSON lines on standard error
    #[arg(long, env = "TIDINGS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// The files from which secrets were read.
    #[arg(skip)]
    pub secret_files: SecretFiles,
}

impl Config {
    /// The address of the operators' listener. Err if its default port would be invalid.
    pub fn admin_listen(&self) -> Result<SocketAddr, Problem> {
        admin_address(self.listen, self.admin_listen)
    }

    /// The pauses before the second and each later attempt.
    pub fn retry_delays(&self) -> Result<Vec<Duration>, Problem> {
        let problem = || {
            let rule = "must be up to 30 numbers of seconds, each from 0.001 to 604,800, comma separated";
            Problem::new("retry-delays-s", rule)
        };
        let delay = |text: &str| {
            let seconds = text.trim().parse().ok().filter(|seconds: &f64| *seconds >= 0.001)?;
            Duration::try_from_secs_f64(seconds).ok().filter(|delay| *delay <= MAX_RETRY_DELAY)
        };
        let delays: Option<Vec<Duration>> = self.retry_delays_s.split(',').map(delay).collect();
        delays.filter(|delays| delays.len() <= MAX_RETRIES).ok_or_else(problem)
    }

    /// How long an attempt may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl Check for Config {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.database.check();
        problems.extend(self.tokens.checked().err().into_iter().flatten());
        problems.extend(self.retry_delays().err());
        match self.admin_listen() {
            Ok(admin) => {
                problems.extend(listener_clashes(&[("listen", self.listen), ("admin-listen", admin)]));
            }
            Err(problem) => problems.push(problem),
        }
        if let Some(file) = &self.ca_file {
            problems.extend(read_certificates(file).err().map(|why| Problem::new("ca-file", why)));
        }
        if let Err(error) = EnvFilter::try_new(&self.log) {
            problems.push(Problem::new("log", error));
        }
        problems
    }

    fn set_secret_files(&mut self, files: SecretFiles) {
        self.secret_files = files;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[&str]) -> Config {
        let base = [
            "tidings-webhooks",
            "--database-url=postgres://localhost/tidings",
            "--jwt-secret=0123456789abcdef",
        ];
        Config::try_parse_from(base.iter().chain(more)).unwrap()
    }

    #[test]
    fn default_retries_span_three_days() {
        let config = config(&[]);
        assert_eq!(config.check(), []);
        let delays = config.retry_delays().unwrap();
        assert_eq!(delays.len(), 9);
        assert!(delays.iter().sum::<Duration>() > Duration::from_secs(3 * 24 * 3600));
    }

    #[test]
    fn wrong_setting_is_named() {
        for (flag, name) in [
            ("--database-url=mysql://x", "--database-url"),
            ("--jwt-secret=short", "--jwt-secret"),
            ("--retry-delays-s=5,never", "--retry-delays-s"),
            ("--retry-delays-s=-1", "--retry-delays-s"),
            ("--retry-delays-s=inf", "--retry-delays-s"),
            ("--ca-file=/nowhere", "--ca-file"),
            ("--admin-listen=127.0.0.1:8083", "--admin-listen"),
            ("--log=a=b=c", "--log"),
        ] {
            let mut config = config(&[]);
            config.update_from(["tidings-webhooks", flag]);
            let problems: Vec<String> = config.check().iter().map(ToString::to_string).collect();
            assert!(problems.len() == 1 && problems[0].starts_with(name), "{flag}: {problems:?}");
        }
    }
}
