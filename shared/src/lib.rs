//! The code that gateway and persistence share: identifiers, the wire protocol, the room log in Redis, authentication,
//! configuration, telemetry and the lifecycle of a process.
//!
//! This crate imports neither service. Only `log`, `membership`, `people`, `presence` and `rate` send commands to
//! Redis. No module uses SQL.

pub mod admin;
pub mod auth;
pub mod clock;
pub mod command_fields;
pub mod config;
pub mod emoji;
pub mod error;
pub mod events;
pub mod grapheme;
pub mod health;
pub mod http_client;
pub mod ids;
pub mod internal;
pub mod lifecycle;
pub mod limits;
pub mod log;
pub mod membership;
pub mod message;
pub mod metrics;
pub mod min_data_rate;
mod named_enum;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod origin;
pub mod outbound;
pub mod people;
pub mod presence;
pub mod problem;
pub mod program;
pub mod protocol;
pub mod rate;
pub mod receipts;
pub mod request_slots;
pub mod role;
pub mod rotation;
pub mod sabotage;
pub mod security_headers;
pub mod telemetry;
pub mod tls;
pub mod version;
pub mod visibility;
pub mod write_idle_timeout;

#[doc(hidden)]
pub use prometheus;
