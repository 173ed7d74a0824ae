//! A connection's session: frames become commands, commands effects, effects happen here. Decisions are in
//! `command` and `hub`; this module and its children do the waiting.
//!
//! Commands of one connection on one room take effect in the order sent: each room has a *lane*, and a lane's next
//! job starts when the one before is appended, joined or left.

mod accept;
mod change;
mod client;
mod farewell;
mod join;
mod lane;
mod line;
mod live;
mod mark;
pub mod poll;
mod presence;
mod replay;
mod send;
mod signal;
mod typing;

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    auth::{Identity, Reason},
    error::Refusal,
    ids::Epoch,
    membership::{self, Versions},
    protocol::{
        self, CloseCode,
        server::{ServerFrame, rfc3339},
    },
};

pub use accept::{ChatAcceptor, Gate};
pub use client::Client;
pub(crate) use farewell::STOPPING;

use crate::{
    asked::Asked,
    bus::Entering,
    command::{self, Context, Effect, State},
    transport::{Connection, Frame, Session},
    worker::Worker,
};
use lane::{Job, enqueue};
use line::Line;

/// A connection without a token is closed after this.
const AUTH_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub struct ChatSession {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl ChatSession {
    fn open(worker: Rc<Worker>, connection: Connection) -> Self {
        connection.set_deadline(Some(AUTH_TIMEOUT));
        Self { worker, client: Rc::new(Client::new(Line::Socket(connection))) }
    }

    fn perform(&self, effect: Effect) {
        let (worker, client) = (&self.worker, &self.client);
        match effect {
            Effect::Reply(json) => client.connection.send(Frame::text(json)),
            Effect::Refuse { asked, room, refusal } => {
                refuse(worker, client, &asked, room.as_ref(), &refusal);
            }
            Effect::Overstepped => overstepped(worker, client),
            Effect::FindKey { asked, token } => {
                client.hold_reading();
                if client.identity().is_none() {
                    client.connection.set_deadline(None);
                }
                let session = Self { worker: worker.clone(), client: client.clone() };
                tokio::task::spawn_local(async move {
                    let verdict = session.worker.node.verifier.settle(&token).await;
                    let effects =
                        command::settle_auth(&mut session.client.state.borrow_mut(), asked, verdict);
                    effects.into_iter().for_each(|effect| session.perform(effect));
                    session.client.release_reading();
                    session.client.go_once_answered();
                });
            }
            Effect::Authenticate { asked, identity } => {
                client.hold_reading();
                // What takes long now is ours, not the client's.
                client.connection.set_deadline(None);
                let (worker, client) = (worker.clone(), client.clone());
                tokio::task::spawn_local(async move {
                    authenticate(&worker, &client, &asked, identity).await;
                    client.release_reading();
                    client.go_once_answered();
                });
            }
            Effect::Renewed => client.watch_expiry(now_ms()),
            Effect::Join { asked, target, presence } => {
                join::start(worker, client, asked, target, presence);
            }
            Effect::Leave { asked, rooms } => join::leave(worker, client, asked, rooms),
            Effect::Append { asked, room, draft } => {
                enqueue(worker, client, room, Job::Send { asked, draft })
            }
            Effect::Change { asked, room, change } => {
                enqueue(worker, client, room, Job::Change { asked, change })
            }
            Effect::Mark { asked, room, seq, delivered } => {
                enqueue(worker, client, room, Job::Mark { asked, seq, delivered })
            }
            Effect::Live { asked, live } => live::start(worker, client, asked, live),
            Effect::Close(code, reason) => client.connection.close(code.code(), reason),
        }
    }
}

impl ChatSession {
    /// Carries out what was read from a frame, or from a poll's list of commands.
    fn on_parsed(&mut self, mut parsed: protocol::Parsed) {
        let node = &self.worker.node;
        let command = parsed.frame.as_ref().ok();
        let sends = matches!(command, Some(protocol::Command::Send { .. }));
        let mut asked = Asked::new(parsed.reference.take(), sends, node.hot.frame(command));
        // What goes into the log is traced: only that has a way through the system.
        if let Some(command @ (protocol::Command::Send { .. } | protocol::Command::Change { .. })) = command {
            asked = asked.traced(command.frame(), parsed.trace);
        }
        let context = Context {
            verifier: &node.verifier,
            allow: &|limit, user, many| node.allow_many(limit, user, many),
            now_ms: now_ms(),
        };
        let effects = command::apply(&mut self.client.state.borrow_mut(), &context, parsed, asked);
        for effect in effects {
            self.perform(effect);
        }
    }
}

impl Session for ChatSession {
    fn on_text(&mut self, text: &str) {
        let parsed = protocol::client::parse(text, self.worker.node.limits.max_message_chars);
        self.on_parsed(parsed);
    }

    fn on_binary(&mut self, _bytes: &[u8]) {}

    fn on_drained(&mut self) {
        self.client.drained.notify_one();
    }

    fn on_deadline(&mut self) {
        let (code, reason) = match &*self.client.state.borrow() {
            State::Ready(identity) if identity.expires_at_s.saturating_mul(1000) > now_ms() => {
                // The wheel cannot look far enough ahead, or a later token came.
                self.client.watch_expiry_of(identity, now_ms());
                return;
            }
            State::Ready(_) => (CloseCode::Unauthorized, "the token has expired"),
            State::AwaitingAuth | State::Authenticating => (CloseCode::TimedOut, "no token in time"),
        };
        self.client.connection.close(code.code(), reason);
    }

    fn on_draining(&mut self, leave_after: Duration) {
        self.client.drain(leave_after);
    }

    fn on_overstayed(&mut self) {
        self.client.overstayed();
    }

    fn on_closed(&mut self, _code: u16) {
        self.client.drained.notify_one();
        for (room, subscription) in self.client.leave_all() {
            self.worker.unsubscribe(&room, subscription);
        }
        self.worker.leave(&self.client);
        presence::left(&self.worker, &self.client);
    }
}

/// Fetches the account of a good token, then answers `connected`; a blocked user is closed.
async fn authenticate(worker: &Rc<Worker>, client: &Rc<Client>, asked: &Asked, identity: Identity) {
    match admit(worker, identity).await {
        Ok(admitted) => {
            worker.node.metrics.auths.with_label_values(&["accepted"]).inc();
            welcome(worker, client, asked, admitted);
        }
        Err(refusal) => {
            refuse(worker, client, asked, None, &refusal);
            let code = match refusal.code {
                tidings_shared::error::ErrorCode::Forbidden => CloseCode::Forbidden,
                tidings_shared::error::ErrorCode::Unauthorized => CloseCode::Unauthorized,
                _ => CloseCode::Overloaded,
            };
            client.connection.close(code.code(), &refusal.message);
        }
    }
}

/// Someone who may come in.
struct Admitted {
    identity: Identity,
    rooms_version: String,
    /// What `rooms_version` was made of, and the account's.
    versions: (Epoch, Versions),
    entering: Entering,
}

/// Finds the account of a good token; name and picture are those of the account.
async fn admit(worker: &Rc<Worker>, identity: Identity) -> Result<Admitted, Refusal> {
    let bus = &worker.node.bus;
    // In this order: what changes behind a read is told on the user's channel, or found by the versions.
    let entering = bus.enter(&identity.user).await?;
    let versions = bus.versions(&identity.user).await?;
    let account = bus.connect_user(&identity).await?.ok_or(Reason::UnknownUser)?;
    if account.blocked {
        let code = tidings_shared::error::ErrorCode::Forbidden;
        return Err(Refusal::new(code, "this user is blocked"));
    }
    let rooms_version = membership::wire_version(versions.0, versions.1.rooms);
    let identity = Identity { name: account.name, picture: account.picture, ..identity };
    Ok(Admitted { identity, rooms_version, versions, entering })
}

fn welcome(worker: &Rc<Worker>, client: &Rc<Client>, asked: &Asked, admitted: Admitted) {
    let Admitted { identity, rooms_version, versions, entering } = admitted;
    let node = &worker.node;
    let connected = ServerFrame::Connected {
        reference: asked.reference(),
        connection: &format!("{}.{}.{}", node.name, worker.index, client.connection.id()),
        user: identity.user.as_str(),
        name: identity.name.as_deref(),
        server_time: &rfc3339(now_ms()),
        heartbeat_ms: node.heartbeat_ms,
        expires_at: &rfc3339(identity.expires_at_s.saturating_mul(1000)),
        rooms_version: &rooms_version,
        limits: &node.limits,
        node: &node.name,
    };
    client.reply(&connected);
    client.set_identity(identity);
    client.watch_expiry(now_ms());
    worker.enter(client, entering, versions);
    presence::arrived(worker, client);
    client.tell_draining();
}

/// Tells a connection that something was refused.
fn refuse(
    worker: &Worker,
    client: &Client,
    asked: &Asked,
    room: Option<&tidings_shared::ids::RoomId>,
    refusal: &Refusal,
) {
    worker.node.hot.error(refusal.code);
    if client.identity().is_none() {
        worker.node.metrics.auths.with_label_values(&[refusal.code.as_str()]).inc();
    }
    asked.refused(refusal);
    if asked.sends {
        worker.node.hot.not_sent(refusal.code);
    }
    client.reply(&ServerFrame::Error { reference: asked.reference(), room, refusal });
    if refusal.code == tidings_shared::error::ErrorCode::RateLimited {
        overstepped(worker, client);
    }
}

/// Counts that a connection ran against a limit, and closes one that does so all the time.
fn overstepped(worker: &Worker, client: &Client) {
    if client.overstepped(now_ms(), worker.node.abuse_per_minute) {
        client.connection.close(CloseCode::Abuse.code(), "limits were run against too often");
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
