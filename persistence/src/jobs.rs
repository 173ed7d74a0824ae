//! The jobs of persistence: import, export, retention, dead letters, the start of erasures, and the repair after a
//! restore of PostgreSQL. Each is a subcommand of the program `tidings-persistence`. Only `sql` contains SQL.
//! No other module of this crate uses this one.

pub mod tasks;

mod after_restore;
mod backoff;
mod connection;
mod dead_letters;
mod erase;
mod export;
mod import;
mod retention;
mod sql;
