//! `auth`, and the admission of users. After a token was verified, this module reads the account of its user and
//! answers `connected`. It also admits handshakes, polls and Socket.IO clients that have a token.

use std::rc::Rc;

use tidings_shared::{
    auth::{Identity, VerifyError},
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::Epoch,
    membership::{self, Account, Versions},
    protocol::{
        CloseCode,
        server::{ServerFrame, rfc3339},
    },
};

use super::{ConnectionHandle, presence};
use crate::{bus::PendingRegistration, client::AuthOutcome, request_context::RequestContext, worker::Worker};

/// Runs an `auth`. If the key of the token was not fetched yet, fetches it first; the connection reads no frame
/// meanwhile.
pub(super) fn run(caller: &ConnectionHandle, request: RequestContext, token: String) {
    match caller.worker.node.verifier.verify(&token) {
        Ok(identity) => finish(caller, request, Ok(identity)),
        Err(VerifyError::Refused(reason)) => finish(caller, request, Err(reason.into())),
        Err(VerifyError::KeysNeeded) => {
            if caller.client.identity().is_none() {
                caller.client.connection.set_deadline(None);
            }
            let waiting = caller.clone();
            caller.spawn_paused(async move {
                let verdict = waiting.worker.node.verifier.verify_or_fetch(&token).await;
                finish(&waiting, request, verdict);
            });
        }
    }
}

/// Answers an `auth` whose token was verified with the result `verdict`.
pub(super) fn finish(caller: &ConnectionHandle, request: RequestContext, verdict: Result<Identity, Refusal>) {
    let client = &caller.client;
    let outcome = client.state.borrow_mut().apply(verdict);
    match outcome {
        AuthOutcome::Admit(identity) => {
            // Only the server can delay the authentication from here on, so the client's deadline is removed.
            client.connection.set_deadline(None);
            let waiting = caller.clone();
            caller.spawn_paused(async move { authenticate(&waiting, &request, identity).await });
        }
        AuthOutcome::Renewed(identity) => {
            client.set_expiry_deadline(unix_ms());
            let expires_at = &rfc3339(identity.expires_at_s.saturating_mul(1000));
            client.reply(&ServerFrame::AuthOk { reference: request.reference(), expires_at });
        }
        AuthOutcome::Refused(refusal) => caller.refuse(&request, None, &refusal),
        AuthOutcome::RefusedAndClosed(refusal, code, reason) => {
            caller.refuse(&request, None, &refusal);
            client.close(code, reason);
        }
    }
}

/// Reads the account of the user of a valid token, then answers `connected`. If the user is refused, answers the error
/// and closes the connection.
async fn authenticate(caller: &ConnectionHandle, request: &RequestContext, identity: Identity) {
    match admit(&caller.worker, identity).await {
        Ok(admitted) => {
            caller.worker.node.metrics.auths.with_label_values(&["accepted"]).inc();
            send_connected(caller, request, admitted);
        }
        Err(refusal) => {
            caller.refuse(request, None, &refusal);
            let code = match refusal.code {
                ErrorCode::Forbidden => CloseCode::Forbidden,
                ErrorCode::Unauthorized => CloseCode::Unauthorized,
                _ => CloseCode::Overloaded,
            };
            caller.client.close(code, &refusal.message);
        }
    }
}

/// A user who may connect, with the data that was read for the decision.
pub struct AdmittedUser {
    pub(crate) identity: Identity,
    pub(crate) rooms_version: String,
    /// See [`Bus::rooms_spread_ms`](crate::bus::Bus::rooms_spread_ms).
    pub(crate) spread_ms: Option<u64>,
    /// The versions of memberships (the source of `rooms_version`) and of the account.
    pub(crate) versions: (Epoch, Versions),
    pub(crate) registration: PendingRegistration,
}

/// Reads the account of the user of a valid token. The returned identity has the name and picture of the account.
/// Refuses an unknown or blocked user.
pub(crate) async fn admit(worker: &Rc<Worker>, identity: Identity) -> Result<AdmittedUser, Refusal> {
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

/// Answers `connected`, and registers the connection.
pub(crate) fn send_connected(caller: &ConnectionHandle, request: &RequestContext, admitted: AdmittedUser) {
    let AdmittedUser { identity, rooms_version, spread_ms, versions, registration } = admitted;
    let ConnectionHandle { worker, client } = caller;
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
    presence::report_opened(caller);
    client.send_draining();
}
