//! The gateway's settings, from flags, environment variables and files.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use clap::Parser;
use tidings_shared::{
    config::{
        CommonArgs, admin_address, listener_clashes,
        problem::{Check, Problem, SecretFiles},
    },
    internal::{self, derive_key, tls::ClientTlsArgs},
    rate::Rate,
    rotation::AcceptedSecrets,
};

use crate::{
    dialect_file,
    limits::Limit,
    socket_io::{
        dialect::Dialect,
        packet::{MAIN_NAMESPACE, MAX_NAMESPACE_BYTES},
    },
    transport::{EngineConfig, FrameRate, SessionIdKeys},
};

/// The version of the program, with the commit of its source in parentheses.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")");

/// Names the key that signs the ids of Engine.IO sessions, among all keys that come from the internal secret.
const SESSION_ID_KEY: &str = "tidings engine.io session ids 1";

/// Whether a part of Socket.IO is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SocketIoSwitch {
    Off,
    On,
}

/// Stateless node that holds WebSockets and appends to the room logs.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-gateway", version = VERSION)]
pub struct GatewayConfig {
    /// Listening address for clients
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Base URLs of persistence's internal listeners, comma separated; the one that answered last is asked first
    #[arg(
        long,
        env = "TIDINGS_PERSISTENCE_URLS",
        value_delimiter = ',',
        required = true,
        value_name = "URLS"
    )]
    pub persistence_url: Vec<String>,
    /// Address (HOST:PORT) at which other gateways reach this node; they forward requests of Socket.IO clients to it.
    /// See docs/OPERATIONS.md#socketio-on-several-gateways. Default: the listening address; instead of 0.0.0.0 the
    /// address from which the machine reaches Redis
    #[arg(long, env = "TIDINGS_ADVERTISE_ADDRESS", value_name = "ADDRESS")]
    pub advertise_address: Option<String>,
    /// Threads that hold connections, 1 to 64. Default: the number of cores
    #[arg(long, env = "TIDINGS_WORKERS", value_name = "THREADS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// Time between WebSocket pings, 100 to 600,000; a peer that is silent for two intervals is closed
    #[arg(long, env = "TIDINGS_HEARTBEAT_MS", default_value_t = 25_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub heartbeat_ms: u64,
    /// Messages that a user may send per second, on average, through all gateways together
    #[arg(long, env = "TIDINGS_MESSAGES_PER_SECOND", default_value = "10", value_name = "PER_SECOND")]
    pub messages_per_second: NonZeroU32,
    /// Messages that a user may send at once (burst) through one gateway; all gateways together allow it as often as
    /// the rate does
    #[arg(long, env = "TIDINGS_MESSAGES_BURST", default_value = "20", value_name = "MESSAGES")]
    pub messages_burst: NonZeroU32,
    /// `typing:start` and `typing:stop` of a user, on average, through all gateways together; the burst is four times
    /// as many, also for the limits that follow
    #[arg(long, env = "TIDINGS_TYPING_PER_SECOND", default_value = "10", value_name = "PER_SECOND")]
    pub typing_per_second: NonZeroU32,
    /// Signals of a user, on average, through all gateways together
    #[arg(long, env = "TIDINGS_SIGNALS_PER_SECOND", default_value = "20", value_name = "PER_SECOND")]
    pub signals_per_second: NonZeroU32,
    /// Read and delivered marks of a user through this node, on average
    #[arg(long, env = "TIDINGS_MARKS_PER_SECOND", default_value = "20", value_name = "PER_SECOND")]
    pub marks_per_second: NonZeroU32,
    /// `presence:set` and `presence:get` of a user
    #[arg(long, env = "TIDINGS_PRESENCE_PER_SECOND", default_value = "5", value_name = "PER_SECOND")]
    pub presence_per_second: NonZeroU32,
    /// `room:join` and `room:leave` of a user; each 50 rooms of a join count as one more
    #[arg(long, env = "TIDINGS_JOINS_PER_SECOND", default_value = "10", value_name = "PER_SECOND")]
    pub joins_per_second: NonZeroU32,
    /// Long polls of a user; each 50 rooms that a poll names count as one more. A poll that exceeds the limit waits
    /// for its turn until its timeout ends
    #[arg(long, env = "TIDINGS_POLLS_PER_SECOND", default_value = "20", value_name = "PER_SECOND")]
    pub polls_per_second: NonZeroU32,
    /// All other commands of a user, and frames that cannot be parsed
    #[arg(long, env = "TIDINGS_COMMANDS_PER_SECOND", default_value = "50", value_name = "PER_SECOND")]
    pub commands_per_second: NonZeroU32,
    /// Exceeded rate limits of one connection per minute above which the connection is closed (4429)
    #[arg(long, env = "TIDINGS_ABUSE_PER_MINUTE", default_value = "1000", value_name = "PER_MINUTE")]
    pub abuse_per_minute: NonZeroU32,
    /// Connections of one user on this node; one more closes the user's oldest connection (4409). Polls do not count
    #[arg(long, env = "TIDINGS_CONNECTIONS_PER_USER", default_value = "100", value_name = "CONNECTIONS")]
    pub connections_per_user: NonZeroU32,
    /// WebSocket frames of one connection on average, of any kind; a connection that sends more is read more slowly,
    /// and closed (4429) after 30 s above the limit. Never less than any other limit here
    #[arg(long, env = "TIDINGS_FRAMES_PER_SECOND", default_value = "100", value_name = "PER_SECOND")]
    pub frames_per_second: NonZeroU32,
    /// Frames of one connection at once (burst); never less than the burst of any other limit here
    #[arg(long, env = "TIDINGS_FRAMES_BURST", default_value = "200", value_name = "FRAMES")]
    pub frames_burst: NonZeroU32,
    /// Whether permessage-deflate is negotiated with clients that offer it
    #[arg(long, env = "TIDINGS_DEFLATE", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub deflate: bool,
    /// Whether WebSockets are served. If not, handshakes are refused with 503 and clients use long polls
    #[arg(long, env = "TIDINGS_WEBSOCKET", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub websocket: bool,
    /// Whether Socket.IO clients are served, by WebSocket and by HTTP polling. See docs/clients/SOCKET_IO.md
    #[arg(long, env = "TIDINGS_SOCKET_IO", default_value = "off", value_name = "SWITCH")]
    pub socket_io: SocketIoSwitch,
    /// Path at which Socket.IO clients connect
    #[arg(long, env = "TIDINGS_SOCKET_IO_PATH", default_value = "/socket.io/", value_name = "PATH")]
    pub socket_io_path: String,
    /// Namespaces besides `/` to which Socket.IO clients can connect, comma separated, such as `/admin`
    #[arg(long, env = "TIDINGS_SOCKET_IO_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    pub socket_io_namespaces: Vec<String>,
    /// File that maps the events of an existing application's Socket.IO clients onto this protocol. See
    /// docs/clients/DIALECTS.md
    #[arg(long, env = "TIDINGS_SOCKET_IO_DIALECT", value_name = "PATH")]
    pub socket_io_dialect: Option<PathBuf>,
    /// Whether Socket.IO clients can continue where a lost connection ended (connection state recovery). Each event
    /// then has one more argument. See docs/clients/SOCKET_IO.md#recovery
    #[arg(long, env = "TIDINGS_SOCKET_IO_RECOVERY", default_value = "off", value_name = "SWITCH")]
    pub socket_io_recovery: SocketIoSwitch,
    /// Time over which the connections of a stopping node leave, up to an hour: each is notified when to leave. See
    /// docs/OPERATIONS.md#stopping
    #[arg(long, env = "TIDINGS_DRAIN_MS", default_value_t = 10_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub drain_ms: u64,
    #[command(flatten)]
    pub internal_tls: ClientTlsArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl Check for GatewayConfig {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.common.check();
        match admin_address(self.listen, self.common.admin_listen) {
            Ok(admin) => {
                let listeners = [("listen", self.listen), ("admin-listen", admin)];
                problems.extend(listener_clashes(&listeners));
            }
            Err(problem) => problems.push(problem),
        }
        for url in &self.persistence_url {
            let checked = internal::check_url(url, self.internal_tls.is_on());
            problems.extend(checked.err().map(|why| Problem::new("persistence-url", why)));
        }
        if !is_path(&self.socket_io_path) || self.socket_io_path.starts_with("/v1/") {
            let why = "must begin with `/` but not with `/v1/`, and have only letters, digits and `/._-`";
            problems.push(Problem::new("socket-io-path", why));
        }
        if !self.named_namespaces().all(is_path) {
            let why = "must begin with `/` and have at most 128 letters, digits and `/._-`";
            problems.push(Problem::new("socket-io-namespaces", why));
        }
        if self.advertise_address.as_deref().is_some_and(|address| !is_host_and_port(address)) {
            problems.push(Problem::new("advertise-address", "must be HOST:PORT, such as 10.0.0.7:8080"));
        }
        problems.extend(self.internal_tls.load().err());
        problems.extend(self.dialect().err().map(|why| Problem::new("socket-io-dialect", why)));
        problems
    }

    fn set_secret_files(&mut self, files: SecretFiles) {
        self.common.secret_files = files;
    }
}

/// The keys that sign and verify the ids of Engine.IO sessions.
pub fn session_id_keys(secrets: &AcceptedSecrets) -> Vec<[u8; 32]> {
    secrets.all().map(|secret| derive_key(secret, SESSION_ID_KEY)).collect()
}

/// Whether the text is a valid Socket.IO path or namespace. Neither is ever escaped.
fn is_path(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    text.len() > 1 && text.len() <= MAX_NAMESPACE_BYTES && text.starts_with('/') && text.bytes().all(is_plain)
}

/// Whether a text is a host name, an IPv4 address or an IPv6 address in brackets, with a port.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_ipv6 = host.starts_with('[') && text.parse::<SocketAddr>().is_ok();
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = !host.is_empty() && host.bytes().all(is_name_byte);
    (is_ipv6 || is_name) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl GatewayConfig {
    /// The namespaces in the setting, without empty ones and without `/`.
    fn named_namespaces(&self) -> impl Iterator<Item = &str> {
        let names = self.socket_io_namespaces.iter().map(|name| name.trim());
        names.filter(|name| !name.is_empty() && *name != MAIN_NAMESPACE)
    }

    /// All namespaces to which Socket.IO clients can connect.
    pub fn namespaces(&self) -> Vec<String> {
        std::iter::once(MAIN_NAMESPACE).chain(self.named_namespaces()).map(ToOwned::to_owned).collect()
    }

    /// The dialect of Socket.IO clients, read from its file. The error names the file and all lines that are wrong.
    pub fn dialect(&self) -> Result<Option<Arc<Dialect>>, String> {
        self.socket_io_dialect.as_deref().map(dialect_file::read).transpose().map(|read| read.map(Arc::new))
    }

    /// The settings of Engine.IO, the protocol below Socket.IO, without other nodes; `None` if Socket.IO is not served.
    pub fn engine(&self, max_payload: usize, keys: SessionIdKeys) -> Option<EngineConfig> {
        let heartbeat = Duration::from_millis(self.heartbeat_ms);
        (self.socket_io == SocketIoSwitch::On).then(|| EngineConfig {
            path: format!("{}/", self.socket_io_path.trim_end_matches('/')),
            ping_interval: heartbeat,
            ping_timeout: heartbeat,
            max_payload,
            keys,
            nodes: None,
        })
    }

    /// The limit on the frames of one connection, which is never below another limit, so that the connection can send
    /// every command that the other limits allow.
    pub fn frame_rate(&self) -> FrameRate {
        let mut rate = FrameRate {
            per_second: self.frames_per_second,
            burst: self.frames_burst,
            ..FrameRate::default()
        };
        // Polls are HTTP requests and not frames, and `Limit::Bytes` counts bytes and not frames.
        let counts_frames = |limit: &Limit| !matches!(limit, Limit::Polls | Limit::Bytes);
        let frames = Limit::ALL.into_iter().filter(|(limit, _)| counts_frames(limit));
        for limit in frames.map(|(limit, _)| self.rate(limit)) {
            rate.per_second = rate.per_second.max(limit.per_second);
            rate.burst = rate.burst.max(limit.burst);
        }
        rate
    }

    /// The rate and burst of a limit.
    pub fn rate(&self, limit: Limit) -> Rate {
        let messages = Rate { per_second: self.messages_per_second, burst: self.messages_burst };
        match limit {
            Limit::Messages => messages,
            Limit::Typing => Rate::per_second(self.typing_per_second),
            Limit::Signals => Rate::per_second(self.signals_per_second),
            Limit::Marks => Rate::per_second(self.marks_per_second),
            Limit::Presence => Rate::per_second(self.presence_per_second),
            Limit::Joins => Rate::per_second(self.joins_per_second),
            Limit::Polls => Rate::per_second(self.polls_per_second),
            Limit::Commands => Rate::per_second(self.commands_per_second),
            Limit::Bytes => messages.content_of_user(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The configuration with these arguments and those that are required.
    pub(crate) fn parse(arguments: &[&str]) -> GatewayConfig {
        let required = [
            "tidings-gateway",
            "--persistence-url=http://127.0.0.1:1",
            "--redis-url=redis://127.0.0.1:1",
            "--internal-secret=0123456789abcdef",
            "--jwt-secret=0123456789abcdef",
        ];
        GatewayConfig::parse_from(required.iter().chain(arguments))
    }

    fn frame_rate(arguments: &[&str]) -> (u32, u32) {
        let rate = parse(arguments).frame_rate();
        (rate.per_second.get(), rate.burst.get())
    }

    #[test]
    fn socket_io_is_off_unless_switched_on() {
        let keys = SessionIdKeys::new(&[[7; 32]]);
        assert!(parse(&[]).engine(1, keys.clone()).is_none());
        let config = parse(&["--socket-io=on", "--heartbeat-ms=1000"]);
        let engine = config.engine(65_536, keys.clone()).unwrap();
        assert_eq!(parse(&["--socket-io=on", "--socket-io-path=/a"]).engine(1, keys).unwrap().path, "/a/");
        assert_eq!(engine.path, "/socket.io/");
        assert_eq!(engine.ping_interval, Duration::from_secs(1));
        assert_eq!(parse(&[]).namespaces(), ["/"]);
        assert_eq!(parse(&["--socket-io-namespaces=/a, /b,/,"]).namespaces(), ["/", "/a", "/b"]);
    }

    #[test]
    fn invalid_path_namespaces_and_address_are_reported() {
        let problems = |argument: &str| parse(&[argument]).check().len();
        for good in ["--socket-io-path=/chat/io/", "--socket-io-namespaces=/a,/b.c-d_e/f"] {
            assert_eq!(problems(good), problems("--workers=1"), "{good}");
        }
        for bad in [
            "--socket-io-path=socket.io",
            "--socket-io-path=/",
            "--socket-io-path=/v1/ws",
            "--socket-io-path=/a?b",
            "--socket-io-namespaces=admin",
            "--socket-io-namespaces=/a b",
        ] {
            assert_eq!(problems(bad), problems("--workers=1") + 1, "{bad}");
        }
        for good in ["gw-1:8080", "10.0.0.7:80", "[::1]:80"] {
            let argument = format!("--advertise-address={good}");
            assert_eq!(problems(&argument), problems("--workers=1"), "{good}");
        }
        for bad in ["gw-1", "gw-1:", ":80", "gw-1:0", "::1:80", "http://gw-1:80", "gw-1:80/x"] {
            let argument = format!("--advertise-address={bad}");
            assert_eq!(problems(&argument), problems("--workers=1") + 1, "{bad}");
        }
    }

    #[test]
    fn frame_rate_is_never_below_another_limit() {
        assert_eq!(frame_rate(&[]), (100, 200));
        assert_eq!(frame_rate(&["--frames-per-second=1000", "--frames-burst=3000"]), (1_000, 3_000));
        assert_eq!(frame_rate(&["--messages-per-second=400", "--messages-burst=500"]), (400, 500));
        assert_eq!(frame_rate(&["--marks-per-second=4000"]).0, 4_000);
        assert_eq!(frame_rate(&["--polls-per-second=4000"]), (100, 200));
    }
}
