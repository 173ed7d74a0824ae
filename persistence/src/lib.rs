//! The persistence service: writes the room log into PostgreSQL and serves history over HTTP.
//! Only `ingest` reads streams; only `writer`, `query` and `entity` contain SQL; `main` only wires.

pub mod account;
pub mod app;
pub mod authority;
pub mod config;
pub mod dead_letters;
pub mod entity;
pub mod erasure;
pub mod export;
pub mod http;
pub mod import;
pub mod indexer;
pub mod ingest;
pub mod internal;
pub mod jobs;
pub mod membership;
pub mod metrics;
pub mod presence;
pub mod query;
pub mod retention;
pub mod schemas;
pub mod search;
pub mod tasks;
pub mod writer;
