//! The transport over real sockets: a server whose sessions execute test commands, and clients that may break every
//! rule. Every wait has a timeout of some seconds.

#![allow(clippy::unwrap_used, reason = "everything here is a test or part of one")]

#[path = "transport/client.rs"]
mod client;
#[path = "transport/closing.rs"]
mod closing;
#[path = "transport/compressed.rs"]
mod compressed;
#[path = "transport/deflate.rs"]
mod deflate;
#[path = "transport/engine.rs"]
mod engine;
#[path = "transport/engine_client.rs"]
mod engine_client;
#[path = "transport/engine_forward.rs"]
mod engine_forward;
#[path = "transport/engine_requests.rs"]
mod engine_requests;
#[path = "transport/engine_upgrade.rs"]
mod engine_upgrade;
#[path = "transport/frame_rate.rs"]
mod frame_rate;
#[path = "transport/handshakes.rs"]
mod handshakes;
#[path = "transport/pressure.rs"]
mod pressure;
#[path = "transport/protocol.rs"]
mod protocol;
#[path = "transport/server.rs"]
mod server;
#[path = "transport/time.rs"]
mod time;
