//! The faults, and how they are chosen at random.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::World;
use crate::stack::Link;

/// A fault of the connections of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// All are closed.
    Cut,
    /// All are reset.
    Reset,
    /// The server's side is closed, the client's side stays open.
    HalfOpen,
    /// No bytes pass for a while.
    BlackHole,
    /// No bytes pass from the client for a while.
    OneWayUp,
    /// No bytes pass from the server for a while.
    OneWayDown,
    /// All bytes are delayed for a while.
    Slow,
    /// New connections are refused for a while, and existing ones are closed.
    Refused,
}

const LINK_FAULTS: [LinkFault; 8] = [
    LinkFault::Cut,
    LinkFault::Reset,
    LinkFault::HalfOpen,
    LinkFault::BlackHole,
    LinkFault::OneWayUp,
    LinkFault::OneWayDown,
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

/// How far clocks jump, in seconds: far enough that leases and tokens expire and client ids are forgotten.
const JUMPS: [i64; 6] = [-3600, -300, -20, 20, 300, 3600];

/// A fault, which is repaired afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing, for a while.
    Nothing(Duration),
    /// SIGKILL, and a new start.
    KillGateway(usize),
    /// SIGSTOP, and SIGCONT after a while.
    PauseGateway(usize, Duration),
    /// SIGKILL, and a new start.
    KillPersistence(usize),
    /// SIGSTOP, and SIGCONT after a while.
    PausePersistence(usize, Duration),
    /// SIGKILL, and a restart with its append-only file.
    KillRedis,
    /// Like a kill, but this many bytes are missing at the end of the file.
    TruncateRedis(u64),
    /// Like a kill, but all data are lost.
    EmptyRedis,
    /// SIGSTOP, and SIGCONT after a while.
    PauseRedis(Duration),
    /// The replica, which lags by this time, takes over. The old primary keeps running, but is cut off.
    FailOver(Duration),
    /// The replica takes over for persistence; gateways use the old primary for this time.
    SplitBrain(Duration),
    /// SIGKILL of the postmaster, and a restart.
    KillPostgres,
    /// SIGSTOP of all its processes.
    PausePostgres(Duration),
    /// Every transaction is read-only.
    ReadOnlyPostgres(Duration),
    /// Statements that write messages fail with "disk full".
    FullPostgres(Duration),
    /// Other clients use all connections.
    CrowdedPostgres(Duration),
    /// Another session locks the table of messages.
    LockedPostgres(Duration),
    /// A fault of the connections between two parts.
    Link(Link, LinkFault, Duration),
    /// All clients reconnect at the same time, repeatedly.
    Storm,
    /// This many additional clients connect, and disappear without a close.
    Vanish(usize),
    /// Additional clients connect, and do not read.
    Stall(Duration),
    /// Additional clients connect, and send as fast as they can.
    Flood(Duration),
    /// The wall clock of one process is ahead or behind by this many seconds for a while.
    Clock(Part, i64, Duration),
}

impl Fault {
    /// A random fault.
    pub fn random(rng: &mut StdRng, world: &World) -> Fault {
        let stack = &world.stack;
        let (gateway, persistence) = (
            rng.random_range(0..stack.gateways().len()),
            rng.random_range(0..stack.persistence_nodes().len()),
        );
        let while_ = Duration::from_millis(rng.random_range(200..6000));
        match rng.random_range(0..33) {
            0 | 1 => Fault::KillGateway(gateway),
            2 => Fault::PauseGateway(gateway, while_),
            3 | 4 => Fault::KillPersistence(persistence),
            5 | 6 => Fault::PausePersistence(persistence, while_),
            7 | 8 => Fault::KillRedis,
            9 => Fault::TruncateRedis(rng.random_range(1..50_000)),
            10 => Fault::EmptyRedis,
            11 => Fault::PauseRedis(while_),
            12 | 13 => Fault::FailOver(Duration::from_millis(rng.random_range(0..3000))),
            14 => Fault::KillPostgres,
            15 => Fault::PausePostgres(while_),
            16 => Fault::ReadOnlyPostgres(while_),
            17 => Fault::FullPostgres(while_),
            18 => Fault::CrowdedPostgres(while_),
            19 => Fault::LockedPostgres(Duration::from_secs(rng.random_range(1..11))),
            20 => Fault::Storm,
            21 => Fault::SplitBrain(while_),
            22 => Fault::Vanish(rng.random_range(1..20)),
            23 => Fault::Stall(while_),
            24 => Fault::Flood(while_),
            25..=27 => {
                let part = match rng.random_range(0..4) {
                    0 => Part::Gateway(gateway),
                    1 => Part::Persistence(persistence),
                    2 => Part::Redis,
                    _ => Part::Postgres,
                };
                Fault::Clock(part, JUMPS[rng.random_range(0..JUMPS.len())], while_)
            }
            _ => {
                let links = stack.links().all();
                let link = links[rng.random_range(0..links.len())];
                Fault::Link(link, LINK_FAULTS[rng.random_range(0..LINK_FAULTS.len())], while_)
            }
        }
    }
}

/// A pause between two faults; sometimes zero, so that the second fault happens during the recovery from the first.
pub(super) fn pause(rng: &mut StdRng) -> Duration {
    Duration::from_millis(if rng.random_ratio(1, 4) { 0 } else { rng.random_range(100..2500) })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
