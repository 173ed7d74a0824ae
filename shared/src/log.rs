//! The room log: every durable change of a room is an event with the room's next seq. One atomic script in Redis
//! appends each event, publishes the event to gateways, and adds it to a stream for persistence.
//!
//! The keys in Redis. `p` is the two digits of the partition, and the braces keep a room's keys in one cluster slot:
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `{p}:room:<room>` | hash | head (`seq`, `epoch`), recent bases, membership marks, fields that a join returns |
//! | `{p}:room:<room>` | channel | appended records and live-only records; a hole in the seqs reveals a lost event |
//! | `{p}:tail:<room>` | stream, id `<seq>-0` | the last records, for replay |
//! | `{p}:marks:<room>` | hash | members' read and delivered marks, and receipts that wait to be published |
//! | `{p}:sent`, `{p}:sent:<window>` | list, hashes | the windows of 10 min, each with the client ids that were accepted in it; the newest also counts the bytes of the ingest stream, and says from which time on a UUIDv7 is new |
//! | `{p}:sent:ahead` | hash | senders whose client ids were ahead of the clock of Redis, each with the latest time of such a client id |
//! | `{p}:sent:slow:<room>␟<user>` | string | when the user last sent to a room with slow mode; kept for an hour |
//! | `{p}:epoch` | string | only in a Redis Cluster: the number of the partition's epoch |
//! | `{p}:none` | | never exists; each call of a script in a Redis Cluster declares it |
//! | `{p}:ingest` | stream | records that persistence must write |
//! | `{p}:erased:<user>` | string | exists while appends of this user are blocked, because the user is being erased |
//! | `{p}:stored` | string and channel | watermark: epoch and ingest id of the last committed record |
//! | `{p}:exceptions`, `{p}:exceptions:old` | hashes | outcomes of records up to the watermark that became voids |
//! | `{p}:gateway:<number>` | string | `HOST:PORT` of the gateway process with this random number, which serves Engine.IO sessions; expires after 60 s |
//! | `leases` (in a cluster `{00}:leases`) | channel | notices that a replica of persistence has released partitions for others |
//!
//! The head of each script (`log/*.lua`) describes its keys, arguments and answers.

mod ack_stage;
pub mod address;
mod append;
mod append_many;
mod arguments;
pub mod authority;
mod backlog;
mod batcher;
mod calls;
mod checks;
mod commands;
pub mod keys;
mod layout;
mod live;
mod map_watch;
mod marks;
mod mentions;
mod moving;
mod owner;
mod process_id;
mod purge;
mod reads;
pub mod record;
mod rights;
mod scripts;
mod seeding;
pub mod sentinel;
mod session;
mod sessions;
pub mod shard_map;
pub mod stored;
pub mod stored_state;
pub mod subscriber;
mod tail;
mod target;
mod timing;

pub use crate::{message::Target, role::MinRole};
pub use address::{MasterSource, RedisClient, Sentinels, client};
pub use append::{Accepted, AppendError, Entry, KnownMemberships};
pub use authority::{Authority, AuthorityError, KnownClientId, OpenedEpoch, SeedOutcome, StoredMarks};
pub use backlog::LogLimits;
pub use batcher::AppendBatcher;
pub use commands::Log;
pub use layout::{Layout, RedisConnection};
pub use live::LiveEntry;
pub use map_watch::{MapError, MapWatch};
pub use marks::{MarkResult, ReadMark};
pub use owner::{Survival, WatermarkUpdate};
pub use process_id::ProcessId;
pub use record::{IngestId, Record};
pub use rights::{FirstDenial, may_measure_backlog};
pub use session::{BySession, EpochMarks, MarkedProcess, Session, SessionError, connect_to_process};
pub(crate) use tail::mark_field;
pub use tail::{Bases, MembershipMark, RoomHead, TailPart, TailRead};
pub use timing::RoundTrip;
