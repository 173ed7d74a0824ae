//! Takes sockets over at the HTTP upgrade, on one worker: WebSockets, Engine.IO sessions over WebSocket, and the
//! sockets to which Engine.IO polling sessions move.

use std::rc::Rc;

use actix_codec::Framed;
use actix_http::{Request, h1};
use bytes::Bytes;
use tidings_shared::write_idle_timeout::WriteIdleTimeout;
use tokio::{net::TcpStream, task::spawn_local};

use super::{
    Acceptor, Connection, Refusal,
    engine::{
        EngineJob, EngineWorker, FORWARDED_HEADER, RequestTarget, TunnelSocket, UpgradeSocket, forwarded_head,
    },
    handshake::{self, Handshake, HandshakeOptions},
    kind::TransportKind,
    refuse::{refuse_unless_open, send_refusal},
    task::ConnectionTask,
    worker::TransportWorker,
};

/// The state that the upgrades of one worker need.
pub(super) struct UpgradeHandler<A> {
    pub acceptor: Rc<A>,
    pub worker: Rc<TransportWorker>,
    pub options: HandshakeOptions,
    /// `None` if Engine.IO is not served.
    pub engine: Option<Rc<EngineWorker>>,
}

/// A socket whose handshake was read, with the bytes that followed the handshake and the bytes still to be sent.
struct TakenSocket {
    socket: TcpStream,
    read: Vec<u8>,
    unsent: Bytes,
}

impl<A: Acceptor> UpgradeHandler<A> {
    /// Accepts or refuses a handshake. An accepted socket gets a connection task and a session.
    pub(super) async fn handle_upgrade(
        &self,
        request: Request,
        framed: Framed<WriteIdleTimeout<TcpStream>, h1::Codec>,
    ) {
        let parts = framed.into_parts();
        // Keeps only the content of the buffers, so that their 16 KB are free while the acceptor waits.
        let (read, unsent) = (parts.read_buf.to_vec(), Bytes::copy_from_slice(&parts.write_buf));
        drop((parts.read_buf, parts.write_buf));
        let taken = TakenSocket { socket: parts.io.into_inner(), read, unsent };
        if let Some(engine) = self.engine.as_ref().filter(|engine| engine.has_path(request.path())) {
            // Boxed so that the future of an ordinary handshake stays small.
            return Box::pin(self.handle_engine(engine, request, taken)).await;
        }
        match self.accept(request, &self.options).await {
            Ok((ticket, handshake)) => self.open(taken, ticket, handshake, None),
            Err(refusal) => send_refusal(taken.socket, &taken.unsent, &refusal).await,
        }
    }

    /// Opens an Engine.IO session over the socket, or hands the socket over to the worker or to the node of a polling
    /// session.
    async fn handle_engine(&self, engine: &Rc<EngineWorker>, request: Request, taken: TakenSocket) {
        let options = HandshakeOptions {
            path: None,
            subprotocol: None,
            deflate: self.options.deflate,
            is_engine: true,
        };
        let is_forwarded = request.head().headers.contains_key(FORWARDED_HEADER);
        let query = request.uri().query().unwrap_or_default();
        let refusal = match engine.target_of(query, true, is_forwarded) {
            Ok(RequestTarget::Handshake) => match self.accept(request, &options).await {
                Ok((ticket, handshake)) => return self.open(taken, ticket, handshake, Some(engine)),
                Err(refusal) => refusal,
            },
            Ok(RequestTarget::Session(session)) => match handshake::check_upgrade(request, &options) {
                Ok((_, handshake)) => {
                    let TakenSocket { socket, read, unsent } = taken;
                    // The conversion fails only for a broken socket.
                    if let Ok(socket) = socket.into_std() {
                        let upgrade = UpgradeSocket { socket, read, unsent, handshake };
                        engine.submit(EngineJob::Upgrade(session, Box::new(upgrade)));
                    }
                    return;
                }
                Err(refusal) => refusal,
            },
            Ok(RequestTarget::OtherNode(forwarder, instance)) => match self.check_tunnel(request, &options) {
                Ok(head) => {
                    let TakenSocket { socket, read, unsent } = taken;
                    let client = TunnelSocket { socket, read, unsent, head };
                    let tunnel = self.worker.tunnels.open();
                    // A task of its own, because the upgrade keeps the state of the HTTP connection in memory.
                    spawn_local(async move { forwarder.run_tunnel(tunnel, instance, client).await });
                    return;
                }
                Err(refusal) => refusal,
            },
            Err(error) => error.refusal(),
        };
        send_refusal(taken.socket, &taken.unsent, &refusal).await;
    }

    /// Checks a handshake for the node of its session, and returns the head to send there.
    fn check_tunnel(&self, request: Request, options: &HandshakeOptions) -> Result<Vec<u8>, Refusal> {
        let head = forwarded_head(&request);
        handshake::check_upgrade(request, options)?;
        refuse_unless_open(&self.worker)?;
        Ok(head)
    }

    fn open(
        &self,
        taken: TakenSocket,
        ticket: A::Ticket,
        handshake: Handshake,
        engine: Option<&Rc<EngineWorker>>,
    ) {
        let kind = if engine.is_some() { TransportKind::EngineWebSocket } else { TransportKind::WebSocket };
        let link = self.worker.open_link(kind);
        link.window.set(handshake.window);
        if !taken.unsent.is_empty() {
            link.queue(taken.unsent);
        }
        link.queue(handshake.answer);
        if let Some(engine) = engine {
            link.queue(engine.open_packet(&link).into_bytes());
        }
        // The task exists before the session: if `open` panics, dropping the task cleans up.
        let mut task = ConnectionTask::new(taken.socket, Rc::clone(&link), taken.read);
        task.session = Some(self.acceptor.open(ticket, Connection(link)));
        spawn_local(task);
    }

    /// Checks a handshake, and asks the acceptor. The error is the answer to a refused handshake.
    async fn accept(
        &self,
        request: Request,
        options: &HandshakeOptions,
    ) -> Result<(A::Ticket, Handshake), Refusal> {
        let (request, handshake) = handshake::check_upgrade(request, options)?;
        // Checked before the wait, so that a refused request costs no authentication.
        refuse_unless_open(&self.worker)?;
        let ticket = self.acceptor.accept(request).await?;
        // Checked again after the wait, because the worker may have become full or begun to stop.
        refuse_unless_open(&self.worker)?;
        Ok((ticket, handshake))
    }
}
