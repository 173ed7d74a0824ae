//! The transport of a client, which is a WebSocket, one long poll, or a namespace of a Socket.IO connection. All of
//! them get the same frames; a namespace turns them into packets.

use std::{rc::Rc, time::Duration};

use tidings_shared::ids::{RoomId, UserId};

use super::{Client, PollBuffer};
use crate::{
    hub::Peer,
    socket_io::NamespaceSocket,
    transport::{Connection, Frame, FrameRun},
};

/// Receives a client's frames: a WebSocket, the buffer of a poll, or a namespace of a Socket.IO connection.
pub(crate) enum ClientTransport {
    Socket(Connection),
    Poll(Rc<PollBuffer>),
    SocketIo(Rc<NamespaceSocket>),
}

impl ClientTransport {
    /// Queues a frame. If too many bytes are queued, closes the transport as too slow. Does nothing after a close.
    pub fn send(&self, frame: Frame) {
        match self {
            Self::Socket(connection) => connection.send(frame),
            Self::Poll(buffer) => buffer.send(frame),
            Self::SocketIo(socket) => socket.send(&frame),
        }
    }

    /// The name that a room gets if a join of this client creates it; `None` if its joins create no such room.
    pub fn name_to_create(&self, room: &RoomId) -> Option<String> {
        match self {
            Self::Socket(_) | Self::Poll(_) => None,
            Self::SocketIo(socket) => socket.dialect()?.name_to_create(room.as_str()),
        }
    }

    /// Bytes that were not written to the socket yet. For a poll, also the bytes of its answer so far.
    pub fn queued_bytes(&self) -> usize {
        match self {
            Self::Socket(connection) => connection.queued_bytes(),
            Self::Poll(buffer) => buffer.bytes(),
            Self::SocketIo(socket) => socket.queued_bytes(),
        }
    }

    /// Closes a WebSocket or namespace after its queued frames, or makes a poll end at once. Only the first close
    /// counts.
    pub fn close(&self, code: u16, reason: &str) {
        match self {
            Self::Socket(connection) => connection.close(code, reason),
            Self::Poll(buffer) => buffer.close(code),
            Self::SocketIo(socket) => socket.close(code, reason),
        }
    }

    /// Whether the WebSocket or namespace has closed or is closing, or the poll is ending.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Socket(connection) => connection.is_closed(),
            Self::Poll(buffer) => buffer.close_code().is_some(),
            Self::SocketIo(socket) => socket.is_closed(),
        }
    }

    /// Does nothing for a poll, because all commands of a poll are read before the first one runs.
    pub fn pause_reading(&self) {
        match self {
            Self::Socket(connection) => connection.pause_reading(),
            Self::SocketIo(socket) => socket.pause_reading(),
            Self::Poll(_) => {}
        }
    }

    /// Does nothing for a poll, which is never paused.
    pub fn resume_reading(&self) {
        match self {
            Self::Socket(connection) => connection.resume_reading(),
            Self::SocketIo(socket) => socket.resume_reading(),
            Self::Poll(_) => {}
        }
    }

    /// Does nothing for a poll, because the poll's own task wakes the replays when it has taken frames.
    pub fn notify_drained(&self) {
        match self {
            Self::Socket(connection) => connection.notify_drained(),
            Self::SocketIo(socket) => socket.notify_drained(),
            Self::Poll(_) => {}
        }
    }

    /// Does nothing for a poll, which has its own deadline.
    pub fn set_deadline(&self, after: Option<Duration>) {
        match self {
            Self::Socket(connection) => connection.set_deadline(after),
            Self::SocketIo(socket) => socket.set_deadline(after),
            Self::Poll(_) => {}
        }
    }

    /// How long ago the last bytes came from the client: see [`Connection::silence`]. A poll has no silence, because it
    /// is one request.
    pub fn silence(&self) -> Duration {
        match self {
            Self::Socket(connection) => connection.silence(),
            Self::Poll(_) => Duration::ZERO,
            Self::SocketIo(socket) => socket.silence(),
        }
    }

    /// The id of the connection or poll, which is unique on this worker.
    pub fn id(&self) -> u64 {
        match self {
            Self::Socket(connection) => connection.id(),
            Self::Poll(buffer) => buffer.id(),
            Self::SocketIo(socket) => socket.id(),
        }
    }
}

/// A poll takes every frame, but ends if it has too many bytes.
impl Peer for Client {
    fn user(&self) -> &UserId {
        self.user.get().expect("only an authenticated connection subscribes")
    }

    fn send(&self, frame: Frame) {
        self.connection.send(frame);
    }

    fn try_send(&self, frame: &Frame) -> bool {
        match &self.connection {
            ClientTransport::Socket(connection) => connection.send_shared(frame),
            ClientTransport::Poll(buffer) => {
                buffer.send(frame.clone());
                true
            }
            ClientTransport::SocketIo(socket) => socket.emit_shared(frame),
        }
    }

    fn try_send_run(&self, run: &FrameRun) -> usize {
        match &self.connection {
            ClientTransport::Socket(connection) => connection.send_run(run),
            ClientTransport::Poll(buffer) => {
                run.frames().iter().for_each(|frame| buffer.send(frame.clone()));
                run.frames().len()
            }
            ClientTransport::SocketIo(socket) => socket.emit_run(run),
        }
    }
}
