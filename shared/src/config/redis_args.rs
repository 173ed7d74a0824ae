//! Settings of the connection to Redis: addresses, certificates, user and password, also those of Sentinels.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::problem::Problem;
use crate::log::{
    RedisClient,
    address::{self, SentinelAccess},
};

/// Settings of the connection to Redis, for the services and for jobs.
#[derive(Debug, Clone, Args)]
pub struct RedisArgs {
    /// Redis, `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`; `rediss://` for TLS, with the name verified: see
    /// docs/OPERATIONS.md#redis-with-tls-and-a-user-of-its-own and, for several nodes of a cluster and for Sentinel,
    /// docs/OPERATIONS.md#redis-cluster-and-sentinel
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: SecretString,
    /// Password for Redis, when the URL has none
    #[arg(long, env = "TIDINGS_REDIS_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    pub redis_password: Option<SecretString>,
    /// Certificates (PEM) of the authorities that may sign the certificate of Redis; with `rediss://` only. Default:
    /// the authorities that browsers trust
    #[arg(long, env = "TIDINGS_REDIS_CA_FILE", value_name = "PATH")]
    pub redis_ca_file: Option<PathBuf>,
    /// User at the Sentinels; with `redis+sentinel://` only
    #[arg(long, env = "TIDINGS_REDIS_SENTINEL_USER", value_name = "NAME")]
    pub redis_sentinel_user: Option<String>,
    /// Password at the Sentinels; with `redis+sentinel://` only
    #[arg(long, env = "TIDINGS_REDIS_SENTINEL_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    pub redis_sentinel_password: Option<SecretString>,
    /// Certificates (PEM) of the authorities that may sign the certificates of the Sentinels, which are then connected
    /// with TLS; with `redis+sentinel://` or `rediss+sentinel://` only. Default: TLS as for Redis, and the authorities
    /// that browsers trust
    #[arg(long, env = "TIDINGS_REDIS_SENTINEL_CA_FILE", value_name = "PATH")]
    pub redis_sentinel_ca_file: Option<PathBuf>,
}

impl RedisArgs {
    /// Returns all problems that clap cannot find. Reads the files with certificates.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        self.client().err().into_iter().collect()
    }

    /// Creates a Redis client, which does not connect yet. A returned problem contains no secret.
    pub fn client(&self) -> Result<RedisClient, Problem> {
        let read = |setting, path: &Option<PathBuf>| {
            path.as_deref().map(|path| read_ca_file(setting, path)).transpose()
        };
        let ca = read("redis-ca-file", &self.redis_ca_file)?;
        let sentinel_ca = read("redis-sentinel-ca-file", &self.redis_sentinel_ca_file)?;
        let sentinel = SentinelAccess {
            user: self.redis_sentinel_user.as_deref(),
            password: self.redis_sentinel_password.as_ref().map(ExposeSecret::expose_secret),
            authorities: sentinel_ca.as_deref(),
        };
        let password = self.redis_password.as_ref().map(ExposeSecret::expose_secret);
        address::client_with(self.redis_url.expose_secret(), password, ca.as_deref(), sentinel)
    }
}

fn read_ca_file(setting: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    let problem =
        |error| Problem::new(setting, format!("the file {} cannot be read: {error}", path.display()));
    std::fs::read(path).map_err(problem)
}
