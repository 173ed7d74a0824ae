//! What gateway and persistence have in common: identifiers, the wire contract, the room log in Redis,
//! authentication, configuration, telemetry and the lifecycle of a process.
//!
//! Imports neither service. Only `log`, `membership`, `people` and `presence` speak Redis; nothing here speaks SQL.

pub mod admin;
pub mod auth;
pub mod config;
pub mod error;
pub mod health;
pub mod ids;
pub mod internal;
pub mod lifecycle;
pub mod log;
pub mod membership;
pub mod message;
pub mod metrics;
pub mod origin;
pub mod patience;
pub mod people;
pub mod places;
pub mod presence;
pub mod process;
pub mod program;
pub mod protocol;
pub mod rate;
pub mod receipts;
pub mod role;
pub mod sabotage;
pub mod telemetry;
pub mod tls;
pub mod version;

#[doc(hidden)]
pub use prometheus;
