//! The gateway: WebSocket and long poll in front, Redis and the persistence service behind.
//! Everything is in this library so that tests and the binary share it; `main.rs` only wires.
//! Each module's head tells what it may touch.

pub mod app;
pub mod asked;
pub mod bus;
pub mod command;
pub mod config;
pub mod drain;
pub mod hub;
pub mod limits;
pub mod metrics;
pub mod presence;
pub mod problem;
pub mod session;
pub mod tasks;
pub mod transport;
pub mod worker;
