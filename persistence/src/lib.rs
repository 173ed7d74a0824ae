//! The persistence service: writes the room log into PostgreSQL and serves history over HTTP.
//! Only the module `ingest` reads ingest streams; only `writer`, `query` and `sql` contain SQL.

pub mod account;
pub mod app;
pub mod authority;
pub mod batch;
pub mod companion;
pub mod config;
pub mod database;
pub mod epoch_cleanup;
pub mod http;
pub mod http_server;
pub mod indexer;
pub mod ingest;
pub mod internal;
pub mod last_seen;
pub mod membership;
pub mod metrics;
pub mod query;
pub mod request_error;
pub mod schemas;
pub mod search;
pub mod sql;
pub mod writer;
