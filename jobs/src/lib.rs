//! The jobs: import, export, retention, dead letters, and the erasure of users. Also the subcommands of the program
//! `tidings-persistence`. Only `sql` contains SQL.

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
