//! The types of the wire protocol of docs/PROTOCOL.md: client frames, server frames, and close codes.

pub mod client;
pub mod close;
pub mod names;
pub mod server;

pub use client::{Command, JoinTarget, Parsed, RoomCommand, SeqForm, Status, StatusForm};
pub use close::CloseCode;
