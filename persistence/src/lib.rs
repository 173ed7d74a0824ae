//! The persistence service: writes the room log into PostgreSQL and serves history over HTTP.
//! Only `ingest` reads streams; only `writer`, `query` and `entity` speak SQL; `main` wires.

pub mod account;
pub mod app;
pub mod authority;
pub mod config;
pub mod entity;
pub mod http;
pub mod ingest;
pub mod internal;
pub mod metrics;
pub mod query;
pub mod writer;
