//! The room log: every durable change of a room is an event with the next seq, appended in Redis by one
//! atomic script, handed to gateways by pub/sub and to persistence by a stream.
//!
//! Keys (`p` = two digits of the partition; the braces keep a room's keys in one cluster slot):
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `{p}:room:<room>` | hash | head (`seq`, `epoch`), recent bases, marks, what a join tells of the room |
//! | `{p}:room:<room>` | channel | records as they are appended: hints, seq is the truth |
//! | `{p}:tail:<room>` | stream, id `<seq>-0` | the last records, for replay |
//! | `{p}:marks:<room>` | hash | how far members have come, and receipts that wait to be published |
//! | `{p}:sent` + `{p}:sent:<window>` | list + hashes | client ids taken lately |
//! | `{p}:ingest` | stream | what persistence must write |
//! | `{p}:erased:<user>` | string | nothing more of theirs is appended |
//! | `{p}:stored` | string and channel | watermark: epoch and last ingest id that is committed |
//! | `{p}:exceptions`, `{p}:exceptions:old` | hashes | records below the watermark that became void |
//! | `leases` | channel | partitions were given back, for replicas of persistence to take |
//!
//! Each script tells its keys, arguments and answers at its head (`log/*.lua`).

pub mod address;
mod append;
pub mod authority;
mod commands;
mod forgetting;
pub mod keys;
mod live;
mod marks;
mod owner;
mod reaching;
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

pub use address::client;
pub use append::{Accepted, AppendError, Entry, KnownUpto, Minimum};
pub use authority::{Authority, AuthorityError, Known, OpenedEpoch, SeedOutcome, StoredMarks};
pub use commands::{Log, LogLimits};
pub use live::LiveEntry;
pub use marks::{Marked, ReadMark};
pub use owner::{StoredUpto, Survival};
pub use record::{IngestId, Record};
pub use session::{Session, SessionError, connect as connect_to_process};
pub(crate) use tail::mark_field;
pub use tail::{Bases, Mark, RoomHead, TailRead};
pub use target::Target;
pub use timing::Step;
