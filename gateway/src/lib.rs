//! The gateway: serves clients by WebSocket and long poll, and uses Redis and the persistence service. The whole
//! program is in this library, so that tests and the binary share one implementation. `main.rs` only starts the
//! gateway. The comment at the start of each module says what the module may use.

mod advertised_address;
pub mod app;
pub mod bus;
pub mod client;
pub mod commands;
pub mod config;
pub mod dialect_file;
pub mod drain;
pub mod hub;
pub mod limits;
mod lock;
pub mod metrics;
mod one_or_many;
pub mod presence;
pub mod problem;
pub mod request_context;
pub mod session;
pub mod socket_io;
pub mod tasks;
pub mod transport;
pub mod worker;
