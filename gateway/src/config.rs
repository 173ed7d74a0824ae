//! The gateway's settings, by flag and environment.

use std::{net::SocketAddr, num::NonZeroU32};

use clap::Parser;
use tidings_shared::{config::CommonArgs, rate::Rate};

use crate::{limits::Limit, transport::FrameRate};

/// Stateless node that holds WebSockets and appends to the room logs.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-gateway", version)]
pub struct GatewayConfig {
    /// Where clients connect.
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Base URLs of persistence's internal listeners, comma separated; tried in order.
    #[arg(long, env = "TIDINGS_PERSISTENCE_URLS", value_delimiter = ',', required = true)]
    pub persistence_url: Vec<String>,
    /// Name of this node, told to clients; default: the listening address.
    #[arg(long, env = "TIDINGS_NODE")]
    pub node: Option<String>,
    /// Threads that hold connections; default: the number of cores.
    #[arg(long, env = "TIDINGS_WORKERS")]
    pub workers: Option<usize>,
    /// Time between WebSocket pings, milliseconds; a peer silent for two of them is closed.
    #[arg(long, env = "TIDINGS_HEARTBEAT_MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub heartbeat_ms: u64,
    /// Messages that a user may send through this node, per second in the long run.
    #[arg(long, env = "TIDINGS_MESSAGES_PER_SECOND", default_value = "10")]
    pub messages_per_second: NonZeroU32,
    /// Messages that a user may send at once.
    #[arg(long, env = "TIDINGS_MESSAGES_BURST", default_value = "20")]
    pub messages_burst: NonZeroU32,
    /// `typing:start` and `typing:stop` of a user through this node, per second in the long run.
    #[arg(long, env = "TIDINGS_TYPING_PER_SECOND", default_value = "10")]
    pub typing_per_second: NonZeroU32,
    /// Signals of a user, per second in the long run.
    #[arg(long, env = "TIDINGS_SIGNALS_PER_SECOND", default_value = "20")]
    pub signals_per_second: NonZeroU32,
    /// Read and delivered marks of a user, per second in the long run.
    #[arg(long, env = "TIDINGS_MARKS_PER_SECOND", default_value = "20")]
    pub marks_per_second: NonZeroU32,
    /// `presence:set` and `presence:get` of a user, per second in the long run.
    #[arg(long, env = "TIDINGS_PRESENCE_PER_SECOND", default_value = "5")]
    pub presence_per_second: NonZeroU32,
    /// `room:join` and `room:leave` of a user, per second in the long run; each 50 rooms of a join count as one more.
    #[arg(long, env = "TIDINGS_JOINS_PER_SECOND", default_value = "10")]
    pub joins_per_second: NonZeroU32,
    /// Long polls of a user, per second in the long run; each 50 rooms that a poll names count as one more.
    #[arg(long, env = "TIDINGS_POLLS_PER_SECOND", default_value = "20")]
    pub polls_per_second: NonZeroU32,
    /// All other commands of a user, per second in the long run; what cannot be read counts too.
    #[arg(long, env = "TIDINGS_COMMANDS_PER_SECOND", default_value = "50")]
    pub commands_per_second: NonZeroU32,
    /// A connection that runs against these limits more often than this within a minute is closed.
    #[arg(long, env = "TIDINGS_ABUSE_PER_MINUTE", default_value = "1000")]
    pub abuse_per_minute: NonZeroU32,
    /// Connections of one user on this node; with one more the oldest is closed.
    #[arg(long, env = "TIDINGS_CONNECTIONS_PER_USER", default_value = "100")]
    pub connections_per_user: NonZeroU32,
    /// Frames of any kind that a connection may send, per second in the long run; it is read no faster. At least
    /// what any other limit allows.
    #[arg(long, env = "TIDINGS_FRAMES_PER_SECOND", default_value = "100")]
    pub frames_per_second: NonZeroU32,
    /// Frames that a connection may send at once. At least what any other limit allows.
    #[arg(long, env = "TIDINGS_FRAMES_BURST", default_value = "200")]
    pub frames_burst: NonZeroU32,
    /// Whether compressed messages (permessage-deflate) are agreed on with clients that offer it.
    #[arg(long, env = "TIDINGS_DEFLATE", default_value_t = true, action = clap::ArgAction::Set)]
    pub deflate: bool,
    /// Whether WebSockets are served at all; off, clients are told to poll.
    #[arg(long, env = "TIDINGS_WEBSOCKET", default_value_t = true, action = clap::ArgAction::Set)]
    pub websocket: bool,
    /// How long the connections of a stopping node are spread over, milliseconds: each is told when to leave.
    #[arg(long, env = "TIDINGS_DRAIN_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub drain_ms: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl GatewayConfig {
    /// Bound on the frames of a connection. What a user may do must also come through: another limit that was raised
    /// takes this one along.
    #[must_use]
    pub fn frame_rate(&self) -> FrameRate {
        let mut rate = FrameRate {
            per_second: self.frames_per_second,
            burst: self.frames_burst,
            ..FrameRate::default()
        };
        // Polls are no frames.
        let frames = Limit::ALL.into_iter().filter(|limit| *limit != Limit::Polls);
        for limit in frames.map(|limit| self.rate(limit)) {
            rate.per_second = rate.per_second.max(limit.per_second);
            rate.burst = rate.burst.max(limit.burst);
        }
        rate
    }

    /// How fast commands of this kind may come.
    #[must_use]
    pub fn rate(&self, limit: Limit) -> Rate {
        match limit {
            Limit::Messages => Rate { per_second: self.messages_per_second, burst: self.messages_burst },
            Limit::Typing => Rate::per_second(self.typing_per_second),
            Limit::Signals => Rate::per_second(self.signals_per_second),
            Limit::Marks => Rate::per_second(self.marks_per_second),
            Limit::Presence => Rate::per_second(self.presence_per_second),
            Limit::Joins => Rate::per_second(self.joins_per_second),
            Limit::Polls => Rate::per_second(self.polls_per_second),
            Limit::Commands => Rate::per_second(self.commands_per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_rate(more: &[&str]) -> (u32, u32) {
        let required = [
            "tidings-gateway",
            "--persistence-url=http://127.0.0.1:1",
            "--redis-url=redis://127.0.0.1:1",
            "--internal-secret=0123456789abcdef",
            "--jwt-secret=0123456789abcdef",
        ];
        let rate = GatewayConfig::parse_from(required.iter().chain(more)).frame_rate();
        (rate.per_second.get(), rate.burst.get())
    }

    #[test]
    fn frames_are_bounded_as_told_but_never_below_what_another_limit_allows() {
        assert_eq!(frame_rate(&[]), (100, 200));
        assert_eq!(frame_rate(&["--frames-per-second=1000", "--frames-burst=3000"]), (1_000, 3_000));
        assert_eq!(frame_rate(&["--messages-per-second=400", "--messages-burst=500"]), (400, 500));
        assert_eq!(frame_rate(&["--marks-per-second=4000"]).0, 4_000);
        assert_eq!(frame_rate(&["--polls-per-second=4000"]), (100, 200));
    }
}
