//! Socket.IO 5 on Engine.IO connections: its packets, the translation of frames into packets, the positions by which a
//! lost connection is recovered, and the sender's side of one namespace of one connection. May use the transport and
//! the names of the protocol, but not rooms, users or Redis. The sessions of Socket.IO clients are in
//! `session::socket_io`.

pub mod dialect;
mod namespace;
pub mod packet;
mod recovery;
mod socket;
mod translation;

pub use namespace::Namespace;
pub(crate) use namespace::ack_reference;
pub(crate) use recovery::RoomPositions;
pub(crate) use socket::{NamespaceSocket, SharedConnection};
