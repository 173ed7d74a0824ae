//! Settings of the persistence service, by flag and environment.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Parser;
use secrecy::{ExposeSecret, SecretString};
use tidings_shared::config::{CommonArgs, with_port_offset};
use tidings_shared::rate::Rate;

use crate::account::Newcomers;
use crate::http::Limits;
use crate::writer::leases::LONGEST_LEASE_MS;

/// Where operators ask, from the public port on.
const ADMIN_OFFSET: u16 = 10_000;
/// Where gateways ask, from the public port on.
const INTERNAL_OFFSET: u16 = 20_000;
/// A lease must outlast a batch and a renewal by far; a dead owner's partitions must not rest for minutes.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=LONGEST_LEASE_MS;

/// Writes the room log into PostgreSQL and serves history over HTTP.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tidings-persistence",
    version,
    after_help = "Jobs: `tidings-persistence retain --help`, `tidings-persistence import --help`"
)]
pub struct Config {
    /// Where clients ask for history over HTTP.
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Where gateways ask; never to be exposed. Default: the public port + 20000.
    #[arg(long, env = "TIDINGS_INTERNAL_LISTEN")]
    pub internal_listen: Option<SocketAddr>,
    /// PostgreSQL, `postgres://…`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// How long a partition stays with an owner that is not heard of, milliseconds.
    #[arg(long, env = "TIDINGS_LEASE_MS", default_value_t = 5_000)]
    pub lease_ms: u64,
    /// Connections that HTTP may hold in the database; the writer has its own.
    #[arg(long, env = "TIDINGS_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,
    /// Whether users who are not known are created by their tokens and by being named.
    #[arg(long, env = "TIDINGS_USERS", default_value = "create")]
    pub users: Newcomers,
    /// Members that a room may have.
    #[arg(long, env = "TIDINGS_MAX_MEMBERS_PER_ROOM", default_value = "100000")]
    pub max_members_per_room: NonZeroU32,
    /// Rooms that a user may be in.
    #[arg(long, env = "TIDINGS_MAX_ROOMS_PER_USER", default_value = "10000")]
    pub max_rooms_per_user: NonZeroU32,
    /// Commands that a user may give over HTTP through this node, per second in the long run.
    #[arg(long, env = "TIDINGS_MESSAGES_PER_SECOND", default_value = "10")]
    pub messages_per_second: NonZeroU32,
    /// Commands that a user may give over HTTP at once.
    #[arg(long, env = "TIDINGS_MESSAGES_BURST", default_value = "20")]
    pub messages_burst: NonZeroU32,
    /// Read and delivered marks of a user over HTTP through this node, per second in the long run.
    #[arg(long, env = "TIDINGS_MARKS_PER_SECOND", default_value = "20")]
    pub marks_per_second: NonZeroU32,
    /// What a user may tell of their presence and ask of that of others over HTTP, per second in the long run.
    #[arg(long, env = "TIDINGS_PRESENCE_PER_SECOND", default_value = "5")]
    pub presence_per_second: NonZeroU32,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl Config {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn check(&self) -> Result<(), String> {
        self.common.check()?;
        self.admin_listen()?;
        self.internal_listen()?;
        if !LEASE_MS.contains(&self.lease_ms) {
            return Err(format!("--lease-ms must be from {} to {}", LEASE_MS.start(), LEASE_MS.end()));
        }
        if self.database_connections == 0 {
            return Err("--database-connections must be at least 1".to_owned());
        }
        let url = self.database_url.expose_secret();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err("--database-url must begin with postgres://".to_owned());
        }
        Ok(())
    }

    /// # Errors
    /// A sentence, when there is no such port.
    pub fn admin_listen(&self) -> Result<SocketAddr, String> {
        self.common.admin_listen.map_or_else(|| with_port_offset(self.listen, ADMIN_OFFSET), Ok)
    }

    /// # Errors
    /// A sentence, when there is no such port.
    pub fn internal_listen(&self) -> Result<SocketAddr, String> {
        self.internal_listen.map_or_else(|| with_port_offset(self.listen, INTERNAL_OFFSET), Ok)
    }

    /// What HTTP holds clients to.
    #[must_use]
    pub fn http_limits(&self) -> Limits {
        Limits {
            max_message_chars: self.common.max_message_chars,
            max_members_per_room: self.max_members_per_room,
            max_rooms_per_user: self.max_rooms_per_user,
            commands: Rate { per_second: self.messages_per_second, burst: self.messages_burst },
            marks: Rate::per_second(self.marks_per_second),
            presence: Rate::per_second(self.presence_per_second),
        }
    }

    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[&str]) -> Config {
        let base = [
            "tidings-persistence",
            "--database-url=postgres://localhost/tidings",
            "--redis-url=redis://localhost",
            "--internal-secret=0123456789abcdef",
            "--jwt-secret=0123456789abcdef",
        ];
        Config::try_parse_from(base.iter().chain(more)).unwrap()
    }

    #[test]
    fn the_other_listeners_lie_above_the_public_port_unless_told() {
        let config = config(&["--listen=127.0.0.1:9000"]);
        assert_eq!(config.admin_listen().unwrap().port(), 19_000);
        assert_eq!(config.internal_listen().unwrap().port(), 29_000);
        assert_eq!(config.check(), Ok(()));
        let told = self::config(&["--internal-listen=127.0.0.1:7"]);
        assert_eq!(told.internal_listen().unwrap().port(), 7);
    }

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        for (flag, name) in [
            ("--lease-ms=10", "--lease-ms"),
            ("--database-url=mysql://x", "--database-url"),
            ("--redis-url=nonsense", "--redis-url"),
            ("--jwt-secret=short", "--jwt-secret"),
            ("--database-connections=0", "--database-connections"),
            ("--listen=127.0.0.1:60000", "60000"),
        ] {
            let mut config = config(&[]);
            config.update_from(["tidings-persistence", flag]);
            let error = config.check().unwrap_err();
            assert!(error.contains(name), "{flag}: {error}");
        }
    }
}
