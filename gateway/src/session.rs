//! The session of a connection turns frames into commands, and carries out the effects of the commands. The modules
//! `command` and `hub` make the decisions. This module and its children wait for Redis and persistence.
//!
//! Commands of one connection for one room take effect in the order of their frames. Each room has a *lane*, and a lane
//! starts its next job when the previous job is done. A send is done when its message is appended. The lane does not
//! wait until the message is stored.

mod accept;
mod access;
mod append;
mod gateway_session;
mod join;
mod join_room;
mod lane;
mod live;
pub mod poll;
mod presence;
mod socket_io;

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    auth::Identity,
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId},
    membership::{self, Account, Versions},
    protocol::{
        self, CloseCode,
        server::{ServerFrame, rfc3339},
    },
};

pub use accept::{AdmissionControl, ChatAcceptor};
pub use gateway_session::GatewaySession;
pub use socket_io::SocketIoSession;

use crate::{
    bus::PendingRegistration,
    client::{Client, ClientTransport, Job},
    command::{self, AuthState, Effect, Environment},
    request_context::RequestContext,
    transport::{Connection, Frame, Session},
    worker::Worker,
};
use lane::enqueue;

/// A connection that sends no token is closed after this time.
const AUTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The session of one connection or poll.
#[derive(Clone)]
pub struct ChatSession {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl ChatSession {
    fn open(worker: Rc<Worker>, connection: Connection) -> Self {
        connection.set_deadline(Some(AUTH_TIMEOUT));
        Self { worker, client: Rc::new(Client::new(ClientTransport::Socket(connection))) }
    }

    fn refuse(&self, request: &RequestContext, room: Option<&RoomId>, refusal: &Refusal) {
        self.worker.refuse(&self.client, request, room, refusal);
    }

    /// Does `work` in its own task. The connection reads no frame meanwhile.
    fn spawn_paused(&self, work: impl Future<Output = ()> + 'static) {
        let client = self.client.clone();
        client.pause_reading();
        tokio::task::spawn_local(async move {
            work.await;
            client.resume_reading();
            client.close_if_overdue();
        });
    }

    fn perform_effect(&self, effect: Effect) {
        let client = &self.client;
        match effect {
            Effect::Reply(json) => client.connection.send(Frame::text(json)),
            Effect::Refuse { request, room, refusal } => self.refuse(&request, room.as_ref(), &refusal),
            Effect::LimitExceeded => self.worker.count_exceeded_limit(client),
            Effect::FetchKey { request, token } => {
                if client.identity().is_none() {
                    client.connection.set_deadline(None);
                }
                let session = self.clone();
                self.spawn_paused(async move {
                    let verdict = session.worker.node.verifier.verify_or_fetch(&token).await;
                    let effects =
                        command::finish_auth(&mut session.client.state.borrow_mut(), request, verdict);
                    effects.into_iter().for_each(|effect| session.perform_effect(effect));
                });
            }
            Effect::Authenticate { request, identity } => {
                // Only the server can delay the authentication from here on, so the client's deadline is removed.
                client.connection.set_deadline(None);
                let session = self.clone();
                self.spawn_paused(async move { authenticate(&session, &request, identity).await });
            }
            Effect::TokenRenewed => client.set_expiry_deadline(unix_ms()),
            Effect::Join { request, target, presence } => join::start_join(self, request, target, presence),
            Effect::Leave { request, rooms } => join::start_leave(self, request, rooms),
            Effect::PresenceSet { request, status } => presence::set_status(self, &request, status),
            Effect::PresenceGet { request, users } => {
                let session = self.clone();
                tokio::task::spawn_local(async move {
                    presence::answer_presence_get(&session, &request, users).await
                });
            }
            Effect::InRoom { request, room, command } => {
                enqueue(self, room, Job::Command(request, command));
            }
            Effect::Close(code, reason) => client.close(code, reason),
        }
    }

    /// Applies a parsed frame, or a parsed command of a poll, and carries out its effects.
    fn run_parsed(&mut self, mut parsed: protocol::Parsed) {
        let node = &self.worker.node;
        let command = parsed.frame.as_ref().ok();
        let is_send = matches!(command, Some(protocol::Command::Send { .. }));
        let mut request =
            RequestContext::new(parsed.reference.take(), is_send, node.counters.count_frame(command));
        // Only commands that append to the log are traced, because only their path leads through all services.
        if let Some(command @ (protocol::Command::Send { .. } | protocol::Command::Change { .. })) = command {
            request = request.with_span(command.frame(), parsed.trace);
        }
        let env = Environment {
            verifier: &node.verifier,
            take_tokens: &|limit, user, cost| node.take_tokens(limit, user, cost),
            now_ms: unix_ms(),
        };
        let effects = command::apply(&mut self.client.state.borrow_mut(), &env, parsed, request);
        for effect in effects {
            self.perform_effect(effect);
        }
    }
}

impl Session for ChatSession {
    fn on_text(&mut self, text: &str) {
        let parsed = protocol::client::parse(text, self.worker.node.limits.max_message_chars);
        self.run_parsed(parsed);
    }

    fn on_drained(&mut self) {
        self.client.drained.notify_one();
    }

    fn on_deadline(&mut self) {
        let (code, reason) = match &*self.client.state.borrow() {
            AuthState::Ready(identity) if identity.expires_at_s.saturating_mul(1000) > unix_ms() => {
                // The token is still valid: it was renewed, or it expires later than the maximum deadline of one day.
                self.client.set_expiry_deadline(unix_ms());
                return;
            }
            AuthState::Ready(_) => (CloseCode::Unauthorized, "the token has expired"),
            AuthState::AwaitingAuth | AuthState::Authenticating => {
                (CloseCode::TimedOut, "no token was sent in time")
            }
        };
        self.client.close(code, reason);
    }

    fn on_draining(&mut self, leave_after: Duration) {
        self.client.begin_drain(leave_after);
    }

    fn on_overstayed(&mut self) {
        self.client.close_when_answered();
    }

    fn on_closed(&mut self, _code: u16) {
        self.client.drained.notify_one();
        for (room, subscription) in self.client.take_subscriptions() {
            self.worker.unsubscribe(&room, subscription);
        }
        self.worker.unregister(&self.client);
        presence::report_closed(self);
    }
}

/// Reads the account of the user of a valid token, then answers `connected`. If the user is refused, answers the error
/// and closes the connection.
async fn authenticate(session: &ChatSession, request: &RequestContext, identity: Identity) {
    match admit(&session.worker, identity).await {
        Ok(admitted) => {
            session.worker.node.metrics.auths.with_label_values(&["accepted"]).inc();
            send_connected(session, request, admitted);
        }
        Err(refusal) => {
            session.refuse(request, None, &refusal);
            let code = match refusal.code {
                ErrorCode::Forbidden => CloseCode::Forbidden,
                ErrorCode::Unauthorized => CloseCode::Unauthorized,
                _ => CloseCode::Overloaded,
            };
            session.client.close(code, &refusal.message);
        }
    }
}

/// A user who may connect, with the data that was read for the decision.
pub struct AdmittedUser {
    identity: Identity,
    rooms_version: String,
    /// See [`Bus::rooms_spread_ms`](crate::bus::Bus::rooms_spread_ms).
    spread_ms: Option<u64>,
    /// The versions of memberships (the source of `rooms_version`) and of the account.
    versions: (Epoch, Versions),
    registration: PendingRegistration,
}

/// Reads the account of the user of a valid token. The returned identity has the name and picture of the account.
/// Refuses an unknown or blocked user.
async fn admit(worker: &Rc<Worker>, identity: Identity) -> Result<AdmittedUser, Refusal> {
    let bus = &worker.node.bus;
    // Keep this order: channel, versions, account. A change after the versions were read then arrives as a notice, or
    // the next check finds a newer version.
    let registration = bus.begin_registration(&identity.user).await?;
    let versions = bus.read_versions(&identity.user).await?;
    let account = Account::admitted(bus.connect_user(&identity).await?)?;
    let rooms_version = membership::wire_version(versions.0, versions.1.rooms);
    let identity = Identity { name: account.name, picture: account.picture, ..identity };
    let spread_ms = bus.rooms_spread_ms(&identity.user);
    Ok(AdmittedUser { identity, rooms_version, spread_ms, versions, registration })
}

fn send_connected(session: &ChatSession, request: &RequestContext, admitted: AdmittedUser) {
    let AdmittedUser { identity, rooms_version, spread_ms, versions, registration } = admitted;
    let ChatSession { worker, client } = session;
    let node = &worker.node;
    let connected = ServerFrame::Connected {
        reference: request.reference(),
        connection: &format!("{}.{}.{}", node.name, worker.index, client.connection.id()),
        user: identity.user.as_str(),
        name: identity.name.as_deref(),
        server_time: &rfc3339(unix_ms()),
        heartbeat_ms: node.heartbeat_ms,
        expires_at: &rfc3339(identity.expires_at_s.saturating_mul(1000)),
        rooms_version: &rooms_version,
        spread_ms,
        limits: &node.limits,
        node: &node.name,
    };
    client.reply(&connected);
    client.set_identity(identity);
    client.set_expiry_deadline(unix_ms());
    worker.register(client, registration, versions);
    presence::report_opened(session);
    client.send_draining();
}
