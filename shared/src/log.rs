//! The room log: every durable change of a room is an event with the room's next seq. One atomic script in Redis
//! appends each event, publishes the event to gateways, and adds it to a stream for persistence.
//!
//! The keys in Redis. `p` is the two digits of the partition, and the braces keep a room's keys in one cluster slot:
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `{p}:room:<room>` | hash | head (`seq`, `epoch`), recent bases, membership marks, fields that a join returns |
//! | `{p}:room:<room>` | channel | a copy of each appended record; a gateway finds lost copies by the seqs |
//! | `{p}:tail:<room>` | stream, id `<seq>-0` | the last records, for replay |
//! | `{p}:marks:<room>` | hash | members' read and delivered marks, and receipts that wait to be published |
//! | `{p}:sent`, `{p}:sent:<window>` | list, hashes | client ids that were accepted recently, in windows of 10 min |
//! | `{p}:ingest` | stream | records that persistence must write |
//! | `{p}:erased:<user>` | string | exists while no event of this user may be appended |
//! | `{p}:stored` | string and channel | watermark: epoch and ingest id of the last committed record |
//! | `{p}:exceptions`, `{p}:exceptions:old` | hashes | records below the watermark that became void |
//! | `leases` | channel | a notice that a replica of persistence has released partitions, which others may now lease |
//!
//! The head of each script (`log/*.lua`) describes its keys, arguments and answers.

mod ack_stage;
pub mod address;
mod append;
mod append_many;
mod arguments;
pub mod authority;
mod batcher;
mod calls;
mod commands;
pub mod keys;
mod live;
mod marks;
mod owner;
mod purge;
mod reads;
pub mod record;
mod scripts;
mod seeding;
mod session;
pub mod stored;
pub mod subscriber;
mod tail;
mod target;
mod timing;

pub use crate::{message::Target, role::MinRole};
pub use address::{RedisClient, client};
pub use append::{Accepted, AppendError, Entry, KnownUpto};
pub use authority::{Authority, AuthorityError, KnownClientId, OpenedEpoch, SeedOutcome, StoredMarks};
pub use batcher::AppendBatcher;
pub use commands::{Log, LogLimits};
pub use live::LiveEntry;
pub use marks::{MarkResult, ReadMark};
pub use owner::{StoredUpto, Survival};
pub use record::{IngestId, Record};
pub use session::{Session, SessionError, connect as connect_to_process};
pub(crate) use tail::mark_field;
pub use tail::{Bases, MembershipMark, RoomHead, TailRead};
pub use timing::RoundTrip;
