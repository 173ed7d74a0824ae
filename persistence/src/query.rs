//! Everything that HTTP reads from PostgreSQL, in the form of the contract.
//! Contains SQL, and writes nothing. Each answer is one snapshot: one statement. A page of history that
//! spans many messages private to others takes several statements, and has the head of the first. Pages are found by
//! key, never by OFFSET. No viewer receives a message or event that they may not see, because each statement looks up
//! the access and the role itself.

pub mod access;
pub mod cursor;
pub mod events;
pub mod export;
pub mod json;
pub mod marks;
pub mod members;
pub mod membership_context;
pub mod memberships;
pub mod messages;
pub mod presence;
pub mod room;
pub mod room_lists;
pub mod search;
pub mod targets;
pub mod users;
pub mod versions;

mod sql;

pub use access::{Access, Viewer, access, stored_head, wait_until_stored};
pub use json::{Head, Raw};
