//! The gateway: serves clients by WebSocket and long poll, and uses Redis and the persistence service. The whole
//! program is in this library, so that tests and the binary share it. `main.rs` only starts it. The head of each
//! module tells what the module may touch.

pub mod app;
pub mod bus;
pub mod client;
pub mod command;
pub mod config;
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
pub mod tasks;
pub mod transport;
pub mod worker;
