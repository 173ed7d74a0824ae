//! Settings of push notifications, from flags, environment and files.

mod app_args;

use std::num::NonZeroU32;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use secrecy::{ExposeSecret, SecretString};
use tidings_persistence::database::DatabaseArgs;
use tidings_persistence::writer::users::AccountArgs;
use tidings_shared::{
    config::{
        admin_address, listener_clashes,
        problem::{Check, Problem, SecretFiles},
        redis_args::RedisArgs,
        token_args::TokenArgs,
    },
    origin::AllowedOrigins,
    outbound::{self, Protocol},
};
use tracing_subscriber::EnvFilter;

use self::app_args::{AppArgs, AppClients};
use crate::app_push::AppPush;
use crate::endpoints::{EndpointRules, KNOWN_HOSTS};
use crate::notification::ContentLevel;
use crate::web_push::vapid::VapidKey;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")");
pub const USER_AGENT: &str = concat!("tidings-push/", env!("CARGO_PKG_VERSION"));
const MAX_SUBJECT_CHARS: usize = 200;

/// Notifies users who are not online of new messages, and serves the API of their devices
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-push", version = VERSION)]
pub struct Config {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub tokens: TokenArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// Where the API of the devices is served
    #[arg(long, env = "TIDINGS_PUSH_LISTEN", default_value = "127.0.0.1:8085", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of the operators' listener for health and metrics. Default: the port of `--listen` + 10000
    #[arg(long, env = "TIDINGS_PUSH_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Browser origins that may use the API, comma separated; `*` for all. Default: only pages of this machine
    #[arg(long, env = "TIDINGS_PUSH_ALLOWED_ORIGINS", value_name = "ORIGINS")]
    pub allowed_origins: Option<String>,
    /// Private key that identifies this installation to push services (VAPID), as `tidings-push vapid` makes one. With another
    /// key all browsers must subscribe again
    #[arg(long, env = "TIDINGS_PUSH_VAPID_KEY", hide_env_values = true, value_name = "BASE64URL")]
    pub vapid_key: SecretString,
    /// Contact of the operator for push services (VAPID), `mailto:ADDRESS` or `https://…`
    #[arg(long, env = "TIDINGS_PUSH_VAPID_SUBJECT", value_name = "URL")]
    pub vapid_subject: String,
    #[command(flatten)]
    pub apps: AppArgs,
    /// How much a notification contains: only counts, also names, or also the text of the message
    #[arg(long, env = "TIDINGS_PUSH_CONTENT", default_value = "names", value_name = "LEVEL")]
    pub content: ContentLevel,
    /// Pause between a message and its notification, 0 to 600,000, so that a member who is reading the room is not notified
    #[arg(long, env = "TIDINGS_PUSH_DELAY_MS", default_value_t = 5_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub delay_ms: u64,
    /// Maximum age of a message for a notification, 60 to 604,800
    #[arg(long, env = "TIDINGS_PUSH_TTL_S", default_value_t = 14_400, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(60..=604_800))]
    pub ttl_s: u32,
    /// Size of a room above which only mentioned members are notified, 0 to 1,000
    #[arg(long, env = "TIDINGS_PUSH_MENTION_ABOVE", default_value_t = 100, value_name = "MEMBERS", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub mention_above: u32,
    /// Pause before the presence of an online user is checked again, 100 to 60,000
    #[arg(long, env = "TIDINGS_PUSH_ONLINE_RECHECK_MS", default_value_t = 30_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub online_recheck_ms: u64,
    /// How long a message waits for its user to be away, 100 to 3,600,000. It is dropped at the first check that finds
    /// the user online after `--delay-ms` and this time. Users of the kit are away after five minutes without input
    #[arg(long, env = "TIDINGS_PUSH_ONLINE_WAIT_MS", default_value_t = 360_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub online_wait_ms: u64,
    /// Hosts of the push services of browsers, comma separated; `*.example.com` for all hosts below. Endpoints at other
    /// hosts are refused
    #[arg(long, env = "TIDINGS_PUSH_ENDPOINT_HOSTS", default_value = KNOWN_HOSTS, value_name = "HOSTS")]
    pub endpoint_hosts: String,
    /// Allow endpoints with `http`, with other ports than 443, and in private networks, if `--endpoint-hosts` names
    /// their hosts. Users who register devices can then send requests to all ports of these hosts
    #[arg(long, env = "TIDINGS_PUSH_ALLOW_PRIVATE", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub allow_private: bool,
    /// File with certificate authorities (PEM) to trust beside the public ones
    #[arg(long, env = "TIDINGS_PUSH_CA_FILE", value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
    /// How long an attempt may take, from the resolution of the name to the end of the answer, 100 to 60,000
    #[arg(long, env = "TIDINGS_PUSH_TIMEOUT_MS", default_value_t = 10_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub timeout_ms: u64,
    /// Attempts that a replica makes at the same time, 1 to 1,024
    #[arg(long, env = "TIDINGS_PUSH_CONCURRENCY", default_value_t = 64, value_name = "ATTEMPTS", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub concurrency: u16,
    /// Overdue notifications, 1 to 1,000,000, above which no further messages are read from the feed
    #[arg(long, env = "TIDINGS_PUSH_MAX_DUE", default_value_t = 10_000, value_name = "NOTIFICATIONS", value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub max_due: i64,
    /// Requests per second of a user through this replica, on average; a burst may have four times as many
    #[arg(long, env = "TIDINGS_PUSH_REQUESTS_PER_SECOND", default_value = "5", value_name = "PER_SECOND")]
    pub requests_per_second: NonZeroU32,
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

    /// The key that identifies this installation to push services.
    pub fn vapid(&self) -> Result<VapidKey, Problem> {
        let subject = self.vapid_subject.as_str();
        let is_contact = subject.strip_prefix("mailto:").is_some_and(|rest| rest.contains('@'))
            || subject.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !is_contact || subject.chars().count() > MAX_SUBJECT_CHARS || subject.chars().any(char::is_control)
        {
            let rule = "must be `mailto:` with an address, or begin with `https://`";
            return Err(Problem::new("vapid-subject", rule));
        }
        VapidKey::parse(self.vapid_key.expose_secret(), subject)
            .map_err(|rule| Problem::new("vapid-key", rule))
    }

    /// The rules for the endpoints of browsers.
    pub fn endpoints(&self) -> Result<EndpointRules, Problem> {
        EndpointRules::parse(&self.endpoint_hosts, self.allow_private)
            .map_err(|rule| Problem::new("endpoint-hosts", rule))
    }

    /// The push services of apps.
    pub fn app_push(&self) -> Result<AppPush, Vec<Problem>> {
        let build = |protocol| {
            outbound::build_trusting(USER_AGENT, self.timeout(), self.ca_file.as_deref(), protocol)
        };
        let client = |protocol| build(protocol).map_err(|why| vec![Problem::new("ca-file", why)]);
        let clients = AppClients { http1: client(Protocol::Http1)?, http2: client(Protocol::Http2)? };
        self.apps.build(&clients)
    }

    /// The browser origins that may use the API.
    pub fn origins(&self) -> Result<AllowedOrigins, Problem> {
        AllowedOrigins::parse(self.allowed_origins.as_deref().unwrap_or_default())
            .map_err(|error| Problem::new("allowed-origins", error))
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    pub fn online_recheck(&self) -> Duration {
        Duration::from_millis(self.online_recheck_ms)
    }

    pub fn online_wait(&self) -> Duration {
        Duration::from_millis(self.online_wait_ms)
    }
}

impl Check for Config {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.database.check();
        problems.extend(self.redis.check());
        problems.extend(self.tokens.checked().err().into_iter().flatten());
        problems.extend(self.vapid().err());
        problems.extend(self.origins().err());
        problems.extend(self.endpoints().err());
        let clashes = |admin| listener_clashes(&[("listen", self.listen), ("admin-listen", admin)]);
        problems.extend(self.admin_listen().map_or_else(|problem| vec![problem], clashes));
        problems.extend(self.app_push().err().into_iter().flatten());
        problems.extend(EnvFilter::try_new(&self.log).err().map(|why| Problem::new("log", why)));
        problems
    }

    fn set_secret_files(&mut self, files: SecretFiles) {
        self.secret_files = files;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flag: &str) -> Config {
        let key = format!("--vapid-key={}", VapidKey::generate().unwrap());
        let mut config = Config::try_parse_from([
            "tidings-push",
            "--database-url=postgres://localhost/tidings",
            "--redis-url=redis://localhost",
            "--jwt-secret=0123456789abcdef",
            "--vapid-subject=mailto:ops@example.org",
            &key,
        ])
        .unwrap();
        if !flag.is_empty() {
            config.update_from(["tidings-push", flag]);
        }
        config
    }

    #[test]
    fn default_settings_are_valid() {
        assert_eq!(config("").check(), []);
        assert_eq!(config("").admin_listen().unwrap().port(), 18_085);
    }

    #[test]
    fn messages_wait_until_the_kit_reports_idle_users_as_away() {
        // The default of the option `awayAfterMs` of the kit.
        let idle = Duration::from_millis(300_000);
        // The last check before the drop must come after the user is away.
        assert!(config("").online_wait() > idle + config("").online_recheck());
    }

    #[test]
    fn wrong_setting_is_named() {
        for (flag, name) in [
            ("--database-url=mysql://x", "--database-url"),
            ("--redis-url=nonsense", "--redis-url"),
            ("--jwt-secret=short", "--jwt-secret"),
            ("--vapid-key=short", "--vapid-key"),
            ("--vapid-subject=ops@example.org", "--vapid-subject"),
            ("--vapid-subject=https://", "--vapid-subject"),
            ("--allowed-origins=example.org/x", "--allowed-origins"),
            ("--endpoint-hosts=https://example.org", "--endpoint-hosts"),
            ("--ca-file=/nowhere", "--ca-file"),
            ("--fcm-account={}", "--fcm-account"),
            ("--fcm-url=https://fcm.example.org/path", "--fcm-url"),
            ("--apns-key=short", "--apns-key-id"),
            ("--apns-topic=org.example.app", "--apns-topic"),
            ("--expo-url=ftp://exp.host", "--expo-url"),
            ("--admin-listen=127.0.0.1:8085", "--admin-listen"),
            ("--log=a=b=c", "--log"),
        ] {
            let problems: Vec<String> = config(flag).check().iter().map(ToString::to_string).collect();
            assert!(problems.len() == 1 && problems[0].starts_with(name), "{flag}: {problems:?}");
        }
    }
}
