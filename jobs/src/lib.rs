//! Work that runs beside the service or behind it: import, export, retention, dead letters, and the erasure of users;
//! and the subcommands of the program `tidings-persistence`. Only `sql` contains SQL.

pub mod connection;
pub mod dead_letters;
pub mod erasure;
pub mod export;
pub mod import;
pub mod retention;
pub mod tasks;

mod backoff;
mod error;
mod sql;
