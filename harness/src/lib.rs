//! The harness with which tests and the developer script run Tidings: private Redis and PostgreSQL servers, nodes as
//! child processes, and clients that check the protocol. The harness imports no code of the services: it uses only
//! their programs, ports and wire format.

pub mod balancer;
pub mod client;
pub mod clock;
pub mod companion;
pub mod daemon;
pub mod deflate;
pub mod dev;
pub mod engine_io;
#[cfg(feature = "faults")]
pub mod faults;
pub mod feed;
pub mod files;
pub mod folder;
pub mod frames;
pub mod history;
pub mod http;
pub mod idle;
pub mod jwks;
pub mod listener;
pub mod memory;
pub mod names;
pub mod node;
pub mod noisy;
pub mod output;
pub mod play;
pub mod ports;
pub mod postgres;
pub mod proxy;
pub mod push;
pub mod raw;
pub mod recorder;
pub mod redis;
pub mod request_counter;
#[cfg(feature = "sink")]
pub mod sink;
pub mod socket_io;
pub mod stack;
pub mod steered;
pub mod tls;
pub mod token;
pub mod wall_clock;
mod watchdog;
pub mod webhooks;

pub use client::{Client, ClientError, TokenBy};
pub use frames::{Cursor, ServerFrame};
pub use http::Http;
pub use listener::{Begin, Listener, Nodes};
pub use node::{Node, Ports, Service};
#[cfg(feature = "sink")]
pub use sink::Sink;
pub use stack::{SharedStack, Stack, System};
pub use token::Token;
pub use wall_clock::WallClock;
