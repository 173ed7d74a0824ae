//! The faults there are, and how a seed draws them.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::World;
use crate::stack::Link;

/// What happens to the connections of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// All are closed.
    Cut,
    /// All are reset.
    Reset,
    /// The server's side is gone, the other's stands.
    HalfOpen,
    /// Nothing comes through for a while.
    BlackHole,
    /// Nothing comes through from the client for a while.
    OneWayUp,
    /// Nothing comes through from the server for a while.
    OneWayDown,
    /// All comes late for a while.
    Slow,
    /// New ones are refused for a while, those that stand are cut.
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

/// How far clocks jump, in seconds: to where leases have run out, tokens are old, what is remembered is forgotten.
const JUMPS: [i64; 6] = [-3600, -300, -20, 20, 300, 3600];

/// Something that breaks, and is whole again afterwards.
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
    /// SIGKILL, and a new start with its append-only file.
    KillRedis,
    /// As killed, with so many bytes missing at the end of its file.
    TruncateRedis(u64),
    /// As killed, without anything.
    EmptyRedis,
    /// SIGSTOP, and SIGCONT after a while.
    PauseRedis(Duration),
    /// The replica, which is behind by this much, takes over; the old primary goes on meanwhile, unheard.
    FailOver(Duration),
    /// The replica takes over for persistence; gateways go on with the old primary for this long.
    SplitBrain(Duration),
    /// SIGKILL of the postmaster, and a new start.
    KillPostgres,
    /// SIGSTOP of all its processes.
    PausePostgres(Duration),
    /// Every transaction may only read.
    ReadOnlyPostgres(Duration),
    /// What writes messages is told that the disk is full.
    FullPostgres(Duration),
    /// Somebody else has all connections.
    CrowdedPostgres(Duration),
    /// Somebody else locks the table of messages.
    LockedPostgres(Duration),
    /// Something with the connections between two parts.
    Link(Link, LinkFault, Duration),
    /// All clients connect at the same time, and again.
    Storm,
    /// So many more clients come, and are gone without a word.
    Vanish(usize),
    /// More clients come, and do not read what they are told.
    Stall(Duration),
    /// More clients come, and send as fast as they can.
    Flood(Duration),
    /// The wall clock of one process is so many seconds ahead for a while, or behind.
    Clock(Part, i64, Duration),
}

impl Fault {
    /// One of them.
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

/// Between two faults: sometimes none, so that the second meets what the first has left.
pub(super) fn pause(rng: &mut StdRng) -> Duration {
    Duration::from_millis(if rng.random_ratio(1, 4) { 0 } else { rng.random_range(100..2500) })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
