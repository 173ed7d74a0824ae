//! The shutdown of a gateway, in order: unready, drain (no new connections, the open ones leave one after the other),
//! close the remaining connections, end presence.

use std::time::Duration;

use tidings_shared::protocol::CloseCode;

use crate::{client::CLOSE_REASON_STOPPING, presence::Presence, session::Gate, transport::Server};

/// How long the peers that are still connected after the drain may take to answer the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long polls may still wait for the answers to their commands after the drain has ended.
const POLL_END_DELAY: Duration = Duration::from_secs(3);

/// Carries out the shutdown. To be called when the node already reports that it is not ready: it does so for the time
/// `unready`, while it serves as before. Then the open connections leave one after the other over the time `drain`.
pub async fn drain(unready: Duration, drain: Duration, gate: &Gate, server: Server, presence: &Presence) {
    tokio::time::sleep(unready).await;
    gate.draining.cancel();
    let counters = server.counters().clone();
    server.drain(drain).await;
    let polls_must_end = gate.polls_must_end.clone();
    tokio::spawn(async move {
        tokio::time::sleep(POLL_END_DELAY).await;
        polls_must_end.cancel();
    });
    if let Err(error) =
        server.stop(CloseCode::ServiceRestart.code(), CLOSE_REASON_STOPPING, CLOSE_TIMEOUT).await
    {
        tracing::error!(%error, "the HTTP listener failed");
    }
    let totals = counters.totals();
    let (told, overstayed, cut) = (totals.drain_notified, totals.drain_overstayed, totals.drain_cut);
    tracing::info!(told, overstayed, cut, "connections are gone");
    presence.end().await;
}
