//! The wire protocol of docs/PROTOCOL.md as types: client frames, parsed once at the edge, server frames, close codes.

pub mod client;
pub mod close;
pub mod names;
pub mod server;

pub use client::{Command, JoinTarget, Parsed, Status};
pub use close::CloseCode;

pub use crate::fields::{self, Fields};
