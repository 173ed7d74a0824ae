//! Settings of the connection to Redis: address, certificates, user and password.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::problem::Problem;
use crate::log::{RedisClient, address};

/// Settings of the connection to Redis, for the services and for jobs.
#[derive(Debug, Clone, Args)]
pub struct RedisArgs {
    /// Redis, `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`; `rediss://` for TLS, with the name verified: see
    /// docs/OPERATIONS.md#redis-with-tls-and-a-user-of-its-own
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: SecretString,
    /// Password for Redis, when the URL has none
    #[arg(long, env = "TIDINGS_REDIS_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    pub redis_password: Option<SecretString>,
    /// Certificates (PEM) of the authorities that may sign the certificate of Redis; with `rediss://` only. Default:
    /// the authorities that browsers trust
    #[arg(long, env = "TIDINGS_REDIS_CA_FILE", value_name = "PATH")]
    pub redis_ca_file: Option<PathBuf>,
}

impl RedisArgs {
    /// Returns all problems that clap cannot find. Reads the file with certificates.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        self.client().err().into_iter().collect()
    }

    /// Creates a Redis client, which does not connect yet. A returned problem contains no secret.
    pub fn client(&self) -> Result<RedisClient, Problem> {
        let url = self.redis_url.expose_secret();
        let password = self.redis_password.as_ref().map(ExposeSecret::expose_secret);
        let ca = self.redis_ca_file.as_deref().map(read_ca_file).transpose()?;
        address::client_with(url, password, ca.as_deref())
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let problem =
        |error| Problem::new("redis-ca-file", format!("the file {} cannot be read: {error}", path.display()));
    std::fs::read(path).map_err(problem)
}
