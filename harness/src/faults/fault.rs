//! The faults, and how they are chosen at random.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::World;
use super::load::ROOMS;
use super::misbehaving::Noise;
use super::shard::ShardFault;
use crate::stack::Link;

/// A fault of all connections of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// All connections are closed.
    Cut,
    /// All connections are reset.
    Reset,
    /// The server's side is closed, the client's side stays open.
    HalfOpen,
    /// No bytes pass for a while.
    BlackHole,
    /// No bytes pass from the client for a while.
    OneWayUp,
    /// No bytes pass from the server for a while.
    OneWayDown,
    /// The proxy holds back the bytes from the server for a while, and then closes all connections. The answers in these
    /// bytes are lost.
    AnswersLost,
    /// All bytes are delayed for a while.
    Slow,
    /// New connections are refused for a while, and existing ones are closed.
    Refused,
}

const LINK_FAULTS: [LinkFault; 9] = [
    LinkFault::Cut,
    LinkFault::Reset,
    LinkFault::HalfOpen,
    LinkFault::BlackHole,
    LinkFault::OneWayUp,
    LinkFault::OneWayDown,
    LinkFault::AnswersLost,
    LinkFault::Slow,
    LinkFault::Refused,
];

/// A process whose clock may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A gateway.
    Gateway(usize),
    /// A persistence node.
    Persistence(usize),
    /// The Redis in use.
    Redis,
    /// PostgreSQL.
    Postgres,
}

/// The jumps of clocks, in seconds. The long ones suffice for leases and tokens to expire and for client ids to be
/// forgotten.
const CLOCK_JUMPS_S: [i64; 6] = [-3600, -300, -20, 20, 300, 3600];

/// A fault, which is repaired afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No fault for this time.
    Nothing(Duration),
    /// SIGKILL, then a restart.
    KillGateway(usize),
    /// SIGSTOP, then SIGCONT after this time.
    PauseGateway(usize, Duration),
    /// SIGKILL, then a restart.
    KillPersistence(usize),
    /// SIGSTOP, then SIGCONT after this time.
    PausePersistence(usize, Duration),
    /// SIGKILL, then a restart with the append-only file.
    KillRedis,
    /// SIGKILL, then a restart with this many bytes missing at the end of the append-only file.
    TruncateRedis(u64),
    /// SIGKILL, then a restart without any data.
    EmptyRedis,
    /// SIGSTOP, then SIGCONT after this time.
    PauseRedis(Duration),
    /// The replica, which lags by this time, takes over. The old primary runs on without clients, and becomes the
    /// replica.
    FailOver(Duration),
    /// The replica takes over for persistence; gateways use the old primary for this time.
    SplitBrain(Duration),
    /// A fault of the shard that owns the user room with this index. Needs a cluster.
    Shard(usize, ShardFault),
    /// SIGKILL of the postmaster, then a restart.
    KillPostgres,
    /// SIGSTOP of all processes of PostgreSQL, then SIGCONT after this time.
    PausePostgres(Duration),
    /// Every transaction is read-only for this time.
    ReadOnlyPostgres(Duration),
    /// Statements that write messages fail with "disk full" for this time.
    FullPostgres(Duration),
    /// Other clients use all connections of PostgreSQL for this time.
    CrowdedPostgres(Duration),
    /// Another session locks the table of messages for this time.
    LockedPostgres(Duration),
    /// A fault of the connections between two parts. The duration applies only to faults that last.
    Link(Link, LinkFault, Duration),
    /// The connections of all clients to gateways are closed, so all clients reconnect at the same time.
    Storm,
    /// This many additional clients connect and then disappear without a close frame.
    Vanish(usize),
    /// Additional clients connect and do not read for this time.
    Stall(Duration),
    /// Additional clients connect and send as fast as they can for this time.
    Flood(Duration),
    /// Noisy neighbours start, and continue for this time while the next faults happen.
    Noisy(Noise, Duration),
    /// The wall clock of one process is wrong by this many seconds for this time; a negative number is behind.
    Clock(Part, i64, Duration),
}

impl Fault {
    /// A random fault. In a cluster about half of them are faults of a shard, and none needs a single Redis.
    pub fn random(rng: &mut StdRng, world: &World) -> Fault {
        if world.cluster().is_err() {
            return Fault::random_for_single_redis(rng, world);
        }
        if rng.random() {
            return Fault::Shard(rng.random_range(0..ROOMS), ShardFault::random(rng));
        }
        loop {
            let fault = Fault::random_for_single_redis(rng, world);
            if !fault.needs_single_redis() {
                return fault;
            }
        }
    }

    fn needs_single_redis(&self) -> bool {
        matches!(
            self,
            Fault::KillRedis
                | Fault::TruncateRedis(_)
                | Fault::EmptyRedis
                | Fault::PauseRedis(_)
                | Fault::FailOver(_)
                | Fault::SplitBrain(_)
                | Fault::Clock(Part::Redis, ..)
                | Fault::Link(Link::GatewaysRedis | Link::PersistenceRedis, ..)
        )
    }

    fn random_for_single_redis(rng: &mut StdRng, world: &World) -> Fault {
        let stack = &world.stack;
        let (gateway, persistence) = (
            rng.random_range(0..stack.gateways().len()),
            rng.random_range(0..stack.persistence_nodes().len()),
        );
        let duration = Duration::from_millis(rng.random_range(200..6000));
        match rng.random_range(0..36) {
            0 | 1 => Fault::KillGateway(gateway),
            2 => Fault::PauseGateway(gateway, duration),
            3 | 4 => Fault::KillPersistence(persistence),
            5 | 6 => Fault::PausePersistence(persistence, duration),
            7 | 8 => Fault::KillRedis,
            9 => Fault::TruncateRedis(rng.random_range(1..50_000)),
            10 => Fault::EmptyRedis,
            11 => Fault::PauseRedis(duration),
            12 | 13 => Fault::FailOver(Duration::from_millis(rng.random_range(0..3000))),
            14 => Fault::KillPostgres,
            15 => Fault::PausePostgres(duration),
            16 => Fault::ReadOnlyPostgres(duration),
            17 => Fault::FullPostgres(duration),
            18 => Fault::CrowdedPostgres(duration),
            19 => Fault::LockedPostgres(Duration::from_secs(rng.random_range(1..11))),
            20 => Fault::Storm,
            21 => Fault::SplitBrain(duration),
            22 => Fault::Vanish(rng.random_range(1..20)),
            23 => Fault::Stall(duration),
            24 => Fault::Flood(duration),
            25..=27 => {
                let part = match rng.random_range(0..4) {
                    0 => Part::Gateway(gateway),
                    1 => Part::Persistence(persistence),
                    2 => Part::Redis,
                    _ => Part::Postgres,
                };
                Fault::Clock(part, CLOCK_JUMPS_S[rng.random_range(0..CLOCK_JUMPS_S.len())], duration)
            }
            28..=30 => {
                let noise = Noise::ALL[rng.random_range(0..Noise::ALL.len())];
                Fault::Noisy(noise, Duration::from_secs(rng.random_range(5..15)))
            }
            _ => {
                let links = stack.links().all();
                let link = links[rng.random_range(0..links.len())];
                Fault::Link(link, LINK_FAULTS[rng.random_range(0..LINK_FAULTS.len())], duration)
            }
        }
    }

    /// Whether Redis may lose data by this fault. A killed Redis loses nearly nothing, because it usually writes its
    /// append-only file before it answers.
    pub(super) fn may_lose_redis_data(&self) -> bool {
        match self {
            Fault::TruncateRedis(_) | Fault::EmptyRedis | Fault::FailOver(_) | Fault::SplitBrain(_) => true,
            Fault::Shard(_, fault) => fault.may_lose_data(),
            _ => false,
        }
    }

    /// The kind of fault, without its target and duration.
    pub(super) fn kind(&self) -> String {
        match self {
            Fault::Link(link, fault, _) => format!("Link({}, {fault:?})", variant_name(link)),
            Fault::Noisy(noise, _) => format!("Noisy({noise:?})"),
            Fault::Shard(_, fault) => format!("Shard({})", variant_name(fault)),
            _ => variant_name(self),
        }
    }
}

/// The name of a variant, without its fields.
fn variant_name(of: &impl fmt::Debug) -> String {
    let text = format!("{of:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// A random pause between two faults. It is sometimes zero: then the second fault happens during the recovery from the
/// first.
pub(super) fn random_pause(rng: &mut StdRng) -> Duration {
    Duration::from_millis(if rng.random_ratio(1, 4) { 0 } else { rng.random_range(100..2500) })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_that_replace_data_of_redis_lose_them() {
        let time = Duration::from_secs(3);
        let losing = [
            Fault::EmptyRedis,
            Fault::TruncateRedis(1),
            Fault::FailOver(time),
            Fault::SplitBrain(time),
            Fault::Shard(0, ShardFault::FailOver),
        ];
        assert!(losing.iter().all(Fault::may_lose_redis_data));
        let keeping = [
            Fault::KillRedis,
            Fault::PauseRedis(time),
            Fault::Clock(Part::Redis, 3600, time),
            Fault::Link(Link::GatewaysRedis, LinkFault::AnswersLost, time),
            Fault::Shard(0, ShardFault::MoveHalf),
        ];
        assert!(!keeping.iter().any(Fault::may_lose_redis_data));
    }

    #[test]
    fn kind_leaves_out_part_and_duration() {
        let time = Duration::from_secs(3);
        assert_eq!(Fault::PauseGateway(1, time).kind(), "PauseGateway");
        assert_eq!(Fault::KillRedis.kind(), "KillRedis");
        assert_eq!(Fault::Noisy(Noise::PollHerd, time).kind(), "Noisy(PollHerd)");
        let link = Fault::Link(Link::ClientsGateway(1), LinkFault::HalfOpen, time);
        assert_eq!(link.kind(), "Link(ClientsGateway, HalfOpen)");
        assert_eq!(Fault::Shard(2, ShardFault::Pause(time)).kind(), "Shard(Pause)");
    }
}
