//! The persistence service: writes the room log into PostgreSQL and serves history over HTTP.
//! Only the module `ingest` reads ingest streams; only `writer`, `query`, `sql` and `jobs::sql` contain SQL.
//! The feature `jobs` adds the subcommands of the program. Programs beside persistence use this library without it.

pub mod app;
pub mod batch;
pub mod companion;
pub mod config;
pub mod database;
pub mod http;
pub mod http_server;
#[cfg(feature = "jobs")]
pub mod jobs;
pub mod metrics;
pub mod query;
pub mod schemas;
pub mod search;
pub mod sql;
pub mod writer;

mod account;
mod authority;
mod epoch_cleanup;
mod erasure;
mod indexer;
mod ingest;
mod internal;
mod job_error;
mod last_seen;
mod membership;
mod request_error;
