//! Decides who may open a connection. The transport has already checked the path and the handshake. This module checks
//! the origin and, on WebSockets of `/v1/ws`, the setting `websocket` and the token. A Socket.IO client sends its token
//! in its first packet, so the token of its handshake is only kept for that packet.

use std::{rc::Rc, sync::Arc};

use actix_http::{
    StatusCode,
    header::{self, HeaderMap},
};
use tidings_shared::{
    auth::Reason,
    error::{ErrorCode, Refusal as Problem},
    origin::AllowedOrigins,
    telemetry::{self, SpanKind, TraceContext, in_trace},
};
use tokio_util::sync::CancellationToken;

use super::{GatewaySession, SocketIoSession, open};
use crate::{
    commands::auth::{AdmittedUser, admit, send_connected},
    problem,
    request_context::RequestContext,
    socket_io::Namespace,
    transport::{Acceptor, Connection, HandshakeRequest, Refusal},
    worker::Worker,
};

/// The state on which the admission of handshakes and polls depends, shared by all workers of a node.
#[derive(Debug)]
pub struct AdmissionControl {
    pub origins: AllowedOrigins,
    /// Whether this node serves WebSockets. If not, handshakes are refused and clients use long polls.
    pub websocket: bool,
    /// Cancelled when the shutdown of the node begins. Plain HTTP connections then close after their next answer.
    pub shutting_down: CancellationToken,
    /// Cancelled when the node drains. New connections and polls are refused; running polls end when they are answered.
    pub draining: CancellationToken,
    /// Cancelled when all polls must end at once, with the answers that they have so far.
    pub polls_must_end: CancellationToken,
}

impl AdmissionControl {
    /// Refuses a handshake or poll whose origin is not allowed, and all handshakes and polls while the node drains.
    pub(super) fn check_request(
        &self,
        headers: &HeaderMap,
        origin_refusal: &'static str,
    ) -> Result<(), Problem> {
        self.refuse_if_draining()?;
        let mut origins = headers.get_all(header::ORIGIN);
        let origin = origins.next().map(|origin| origin.to_str().unwrap_or("unreadable"));
        if !self.origins.allows(origin) || origins.next().is_some() {
            return Err(Problem::new(ErrorCode::Forbidden, origin_refusal));
        }
        Ok(())
    }

    pub(super) fn refuse_if_draining(&self) -> Result<(), Problem> {
        if self.draining.is_cancelled() {
            return Err(Problem::unavailable("this node is stopping; connect to another"));
        }
        Ok(())
    }
}

/// Admits the handshakes that reach one worker, and opens the sessions.
pub struct ChatAcceptor {
    pub worker: Rc<Worker>,
    pub admission: Arc<AdmissionControl>,
    /// The namespaces to which Socket.IO clients can connect.
    pub namespaces: Rc<[Rc<Namespace>]>,
}

/// What an accepted handshake contains for the session.
pub enum HandshakeTicket {
    /// The admitted user; `None` if the handshake has no token, so that the token follows in the first frame.
    Chat(Option<Box<AdmittedUser>>),
    /// The token of a Socket.IO client's handshake, which is not checked yet.
    SocketIo(Option<Box<str>>),
}

impl Acceptor for ChatAcceptor {
    type Session = GatewaySession;
    type Ticket = HandshakeTicket;

    async fn accept(&self, request: HandshakeRequest) -> Result<Self::Ticket, Refusal> {
        let token = self.check_and_read_token(&request);
        let mut span = telemetry::begin_trace("connect", SpanKind::Server, trace_of(&request));
        let is_engine = request.is_engine();
        drop(request);
        let decision = match (token, &span) {
            (Ok(token), _) if is_engine => Ok(HandshakeTicket::SocketIo(token.map(String::into_boxed_str))),
            (Ok(Some(token)), None) => self.admit_by_token(&token).await.map(chat_ticket),
            (Ok(Some(token)), Some(span)) => {
                in_trace(span.context(), Box::pin(self.admit_by_token(&token))).await.map(chat_ticket)
            }
            (Ok(None), _) => Ok(HandshakeTicket::Chat(None)),
            (Err(refusal), _) => Err(refusal),
        };
        let served = is_engine || self.admission.websocket;
        let refused =
            |refusal: &Refusal| if served { handshake_result(refusal.status) } else { "switched_off" };
        let result = decision.as_ref().err().map_or("accepted", refused);
        if let (Some(span), Err(refusal)) = (&mut span, &decision) {
            span.record_refusal(result, served && refusal.status.is_server_error());
        }
        self.worker.node.metrics.handshakes.with_label_values(&[result]).inc();
        decision
    }

    fn open(&self, ticket: Self::Ticket, connection: Connection) -> GatewaySession {
        let worker = self.worker.clone();
        let opened = &worker.node.metrics.opened_by_transport;
        opened.with_label_values(&[connection.transport().label()]).inc();
        match ticket {
            HandshakeTicket::Chat(admitted) => {
                let handle = open(worker, connection);
                if let Some(admitted) = admitted {
                    send_connected(&handle, &RequestContext::unobserved(None), *admitted);
                }
                GatewaySession::Chat(handle)
            }
            HandshakeTicket::SocketIo(token) => {
                let namespaces = self.namespaces.clone();
                GatewaySession::SocketIo(SocketIoSession::open(worker, namespaces, token, connection))
            }
        }
    }
}

impl ChatAcceptor {
    /// Makes the checks that need no token, then reads the token; `None` if the handshake has no token.
    fn check_and_read_token(&self, request: &HandshakeRequest) -> Result<Option<String>, Refusal> {
        if !self.admission.websocket && !request.is_engine() {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "application/json",
                r#"{"fallback":"poll"}"#,
            ));
        }
        let checked =
            self.admission.check_request(request.headers(), "this origin is not allowed to connect");
        checked.map_err(|refusal| to_refusal(&refusal))?;
        token_of(request).map_err(|reason| to_refusal(&reason.into()))
    }

    async fn admit_by_token(&self, token: &str) -> Result<Box<AdmittedUser>, Refusal> {
        let admitted = async {
            let identity = self.worker.node.verifier.verify_or_fetch(token).await?;
            admit(&self.worker, identity).await
        };
        admitted.await.map(Box::new).map_err(|refusal: Problem| to_refusal(&refusal))
    }
}

fn chat_ticket(admitted: Box<AdmittedUser>) -> HandshakeTicket {
    HandshakeTicket::Chat(Some(admitted))
}

/// The token in the value of an `Authorization` header (RFC 6750, 2.1).
pub(super) fn bearer_token(value: &str) -> Result<&str, Reason> {
    let (scheme, token) = value.split_once(' ').ok_or(Reason::Malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(Reason::Malformed) }
}

/// Reads the token from the header or, if there is no header, from the query; `None` if the handshake has no token.
fn token_of(request: &HandshakeRequest) -> Result<Option<String>, Reason> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        return bearer_token(value.to_str().map_err(|_| Reason::Malformed)?)
            .map(|token| Some(token.to_owned()));
    }
    let query = request.query().unwrap_or_default();
    // A JWT contains no character that a query must escape.
    Ok(query.split('&').find_map(|pair| pair.strip_prefix("token=")).map(ToOwned::to_owned))
}

/// Reads the trace of a handshake from the header or, because web pages cannot set the header, from the query.
fn trace_of(request: &HandshakeRequest) -> Option<TraceContext> {
    let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let query = request.query().unwrap_or_default();
    let from_query = || query.split('&').find_map(|pair| pair.strip_prefix("traceparent="));
    TraceContext::parse(header.or_else(from_query)?)
}

/// A refused handshake as a problem document (RFC 9457).
fn to_refusal(refusal: &Problem) -> Refusal {
    let status = problem::status(refusal);
    let mut answer = Refusal::new(status, problem::CONTENT_TYPE, problem::document(refusal, status));
    answer.headers.extend(problem::repeat_header(refusal));
    answer
}

fn handshake_result(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        _ => "unavailable",
    }
}
