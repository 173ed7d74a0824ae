//! Settings of the persistence service, from flags, environment and files.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use clap::Parser;
use tidings_shared::config::{
    CommonArgs, admin_address, listener_clashes,
    problem::{Check, Problem, SecretFiles},
    with_port_offset,
};
use tidings_shared::internal::tls::ServerTlsArgs;
use tidings_shared::rate::Rate;

use crate::database::DatabaseArgs;
use crate::http::Limits;
use crate::writer::daily_limits::DailyLimits;
use crate::writer::leases::MAX_LEASE_MS;
use crate::writer::users::AccountArgs;

/// The Git commit that the program was built from.
pub const COMMIT: &str = env!("TIDINGS_COMMIT");
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")");
/// The default port for gateways is the public port plus this offset.
const INTERNAL_PORT_OFFSET: u16 = 20_000;
/// Allowed values of `lease_ms`. A lease must last far longer than a batch or a renewal takes. It must not last
/// minutes, because no replica writes the partitions of a crashed owner until its lease ends.
const LEASE_MS_RANGE: std::ops::RangeInclusive<u64> = 1_000..=MAX_LEASE_MS;

/// Writes the room log into PostgreSQL and serves history over HTTP; without a command it serves
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-persistence", version = VERSION)]
pub struct Config {
    /// Where clients ask for history over HTTP
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where gateways send their requests; must never be exposed. Default: the public port + 20000
    #[arg(long, env = "TIDINGS_INTERNAL_LISTEN", value_name = "ADDRESS")]
    pub internal_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// How long a partition stays with an owner that does not renew its lease, 1,000 to 60,000; PostgreSQL also ends a
    /// transaction that stays idle for this time
    #[arg(long, env = "TIDINGS_LEASE_MS", default_value_t = 5_000, value_name = "MILLISECONDS")]
    pub lease_ms: u64,
    /// Connections to PostgreSQL for HTTP, per process; other work uses 23 more
    #[arg(long, env = "TIDINGS_DATABASE_CONNECTIONS", default_value_t = 16, value_name = "CONNECTIONS")]
    pub database_connections: u32,
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// Members that a room may have; counted in the stored state, so simultaneous joins may exceed the limit by a few
    #[arg(long, env = "TIDINGS_MAX_MEMBERS_PER_ROOM", default_value = "100000", value_name = "MEMBERS")]
    pub max_members_per_room: NonZeroU32,
    /// Rooms that a user may have created or joined; the membership cache holds all of them
    #[arg(long, env = "TIDINGS_MAX_ROOMS_PER_USER", default_value = "10000", value_name = "ROOMS")]
    pub max_rooms_per_user: NonZeroU32,
    /// Further rooms to which others may have added a user; the membership cache holds them too
    #[arg(long, env = "TIDINGS_MAX_ROOMS_BY_OTHERS", default_value = "10000", value_name = "ROOMS")]
    pub max_rooms_by_others: NonZeroU32,
    /// Rooms that a user may create per day, through all nodes; back ends have no daily limits
    #[arg(long, env = "TIDINGS_ROOMS_PER_DAY", default_value = "1000", value_name = "ROOMS")]
    pub rooms_per_day: NonZeroU32,
    /// Members whom a user may add to rooms per day, first members of new rooms included
    #[arg(long, env = "TIDINGS_MEMBERS_PER_DAY", default_value = "20000", value_name = "MEMBERS")]
    pub members_per_day: NonZeroU32,
    /// Users whom a user may add per day although the system has not seen them; each becomes a row
    #[arg(long, env = "TIDINGS_NEW_USERS_PER_DAY", default_value = "20000", value_name = "USERS")]
    pub new_users_per_day: NonZeroU32,
    /// Commands per second that a user may send over HTTP through this node, on average
    #[arg(long, env = "TIDINGS_MESSAGES_PER_SECOND", default_value = "10", value_name = "PER_SECOND")]
    pub messages_per_second: NonZeroU32,
    /// Commands that a user may send over HTTP in a burst above the average rate
    #[arg(long, env = "TIDINGS_MESSAGES_BURST", default_value = "20", value_name = "COMMANDS")]
    pub messages_burst: NonZeroU32,
    /// Read and delivered marks per second that a user may set over HTTP through this node, on average; a burst may
    /// have four times as many
    #[arg(long, env = "TIDINGS_MARKS_PER_SECOND", default_value = "20", value_name = "PER_SECOND")]
    pub marks_per_second: NonZeroU32,
    /// `POST /presence` and `GET /presence` per second of a user through this node, on average; a burst may have four
    /// times as many
    #[arg(long, env = "TIDINGS_PRESENCE_PER_SECOND", default_value = "5", value_name = "PER_SECOND")]
    pub presence_per_second: NonZeroU32,
    /// Reads over HTTP per second of a user through this node, on average; a burst may have four times as many. Searches
    /// and reads of lists count twice, and each 128 KiB of an answer count as one more
    #[arg(long, env = "TIDINGS_READS_PER_SECOND", default_value = "50", value_name = "PER_SECOND")]
    pub reads_per_second: NonZeroU32,
    /// How long entries of the audit log are kept, 1 to 3,650. See docs/AUDIT.md
    #[arg(long, env = "TIDINGS_AUDIT_DAYS", default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3_650))]
    pub audit_days: u16,
    #[command(flatten)]
    pub internal_tls: ServerTlsArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl Check for Config {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.common.check();
        let mut listeners = vec![("listen", self.listen)];
        let others = [("internal-listen", self.internal_listen()), ("admin-listen", self.admin_listen())];
        for (setting, address) in others {
            match address {
                Ok(address) => listeners.push((setting, address)),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(listener_clashes(&listeners));
        problems.extend(self.database.check());
        problems.extend(self.internal_tls.load().err());
        if !LEASE_MS_RANGE.contains(&self.lease_ms) {
            let why = format!("must be from {} to {}", LEASE_MS_RANGE.start(), LEASE_MS_RANGE.end());
            problems.push(Problem::new("lease-ms", why));
        }
        if self.database_connections == 0 {
            problems.push(Problem::new("database-connections", "must be at least 1"));
        }
        problems
    }

    fn set_secret_files(&mut self, files: SecretFiles) {
        self.common.secret_files = files;
    }
}

impl Config {
    /// The address of the operators' listener. Err if its default port would be invalid.
    pub fn admin_listen(&self) -> Result<SocketAddr, Problem> {
        admin_address(self.listen, self.common.admin_listen)
    }

    /// The address of the listener for gateways. Err if its default port would be invalid.
    pub fn internal_listen(&self) -> Result<SocketAddr, Problem> {
        let address =
            self.internal_listen.map_or_else(|| with_port_offset(self.listen, INTERNAL_PORT_OFFSET), Ok);
        address.map_err(|why| Problem::new("internal-listen", why))
    }

    #[must_use]
    pub fn http_limits(&self) -> Limits {
        Limits {
            max_message_chars: self.common.max_message_chars,
            max_members_per_room: self.max_members_per_room,
            max_rooms_per_user: self.max_rooms_per_user,
            max_rooms_by_others: self.max_rooms_by_others,
            daily: DailyLimits {
                rooms: self.rooms_per_day,
                members: self.members_per_day,
                new_users: self.new_users_per_day,
            },
            commands: Rate { per_second: self.messages_per_second, burst: self.messages_burst },
            marks: Rate::per_second(self.marks_per_second),
            presence: Rate::per_second(self.presence_per_second),
            reads: Rate::per_second(self.reads_per_second),
            read_slots: usize::try_from(self.database_connections / 2).unwrap_or_default().max(1),
        }
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
    fn default_listeners_are_offset_from_public_port() {
        let config = config(&["--listen=127.0.0.1:9000"]);
        assert_eq!(config.admin_listen().unwrap().port(), 19_000);
        assert_eq!(config.internal_listen().unwrap().port(), 29_000);
        assert_eq!(config.check(), []);
        let explicit = self::config(&["--internal-listen=127.0.0.1:7"]);
        assert_eq!(explicit.internal_listen().unwrap().port(), 7);
    }

    #[test]
    fn invalid_setting_is_named() {
        for (flag, name) in [
            ("--lease-ms=10", "--lease-ms"),
            ("--database-url=mysql://x", "--database-url"),
            ("--redis-url=nonsense", "--redis-url"),
            ("--jwt-secret=short", "--jwt-secret"),
            ("--database-connections=0", "--database-connections"),
            ("--listen=127.0.0.1:60000", "60000"),
            ("--admin-listen=127.0.0.1:8081", "--admin-listen"),
            ("--internal-listen=127.0.0.1:18081", "--admin-listen"),
        ] {
            let mut config = config(&[]);
            config.update_from(["tidings-persistence", flag]);
            let problems: Vec<String> = config.check().iter().map(ToString::to_string).collect();
            assert!(problems[0].contains(name), "{flag}: {problems:?}");
        }
    }
}
