//! Reads from PostgreSQL for HTTP handlers, gateways and decisions about memberships, as the types of their answers.
//! Contains SQL that only reads. An answer is one statement, so it comes from one snapshot. Four answers take several
//! statements: a search, an export, a page of the feed, and a page of history that spans many messages private to other users; the head of
//! that page is that of its first statement. Pages are found by key, never by OFFSET, and end at a number of bytes.
//! A statement that reads messages or events for a viewer looks up the viewer's role itself, so no viewer receives a
//! message or event that they may not see.

pub mod access;
pub mod audit;
pub mod change_targets;
pub mod cursor;
pub mod events;
pub mod export;
pub mod feed;
pub mod json;
pub mod leaving_member;
pub mod members;
pub mod membership_context;
pub mod memberships;
pub mod messages;
pub mod page_budget;
pub mod people;
pub mod presence;
pub mod room;
pub mod room_lists;
pub mod search;
pub mod users;
pub mod versions;

mod sql;

pub use access::{Access, Viewer, access, stored_head, wait_until_stored};
pub use json::{Head, RawJson};
