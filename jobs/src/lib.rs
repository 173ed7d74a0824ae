//! The jobs of persistence: import, export, retention, dead letters, and the erasure of users. This crate also holds
//! the subcommands of the program `tidings-persistence`. Only its module `sql` contains SQL.

pub mod after_restore;
pub mod connection;
pub mod dead_letters;
pub mod erase;
pub mod erasure;
pub mod export;
pub mod import;
pub mod retention;
pub mod tasks;

mod backoff;
mod error;
mod sql;
