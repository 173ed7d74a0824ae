//! SeaORM entities of the tables that are written and read row by row: users, rooms, members.
//! The log's tables are written in bulk and read by statements of their own (`writer`, `query`).
//! The entities match the schema that tidings-migrations creates.

pub mod member;
pub mod room;
pub mod user;
