//! Everything that HTTP reads from PostgreSQL, as the types of its answers.
//! Contains SQL that only reads. Each answer is one statement, so it comes from one snapshot. Only a page of history
//! that spans many messages private to others takes several statements, and has the head of the first one. Pages are
//! found by key, never by OFFSET. Each statement itself looks up the viewer's access and role, so no viewer receives a
//! message or event that they may not see.

pub mod access;
pub mod cursor;
pub mod events;
pub mod export;
pub mod json;
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
