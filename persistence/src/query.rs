//! Everything that HTTP reads from PostgreSQL, in the form in which the contract answers it.
//! Speaks SQL, writes nothing but new users and rooms. Promises that each answer is one snapshot
//! (one statement; a page of history that leads over much that is private to others takes several, and is as of the
//! first), that pages are found by key and never by OFFSET, and that nobody is given
//! a message or event they may not see: access and role are looked up in the statement that reads.

pub mod access;
pub mod cursor;
pub mod events;
pub mod export;
pub mod exporting;
pub mod importing;
pub mod json;
pub mod leaving;
pub mod marks;
pub mod members;
pub mod memberships;
pub mod messages;
pub mod partitions;
pub mod presence;
pub mod room;
pub mod room_lists;
pub mod rooms;
pub mod search;
pub mod standing;
pub mod targets;
pub mod users;
pub mod versions;

mod sql;

pub use access::{Access, Viewer, access, stored_head};
pub use json::{Head, Raw};
