//! The end of a gateway: unready, then nothing new and a spread goodbye, then whoever is left, then presence.

use std::time::Duration;

use tidings_shared::protocol::CloseCode;

use crate::{
    presence::Presence,
    session::{Gate, STOPPING},
    transport::Server,
};

/// How long whoever is closed at the end may take to answer the close.
const CLOSED_WITHIN: Duration = Duration::from_secs(6);
/// How long commands of polls may still take to be answered once the connections are gone.
const POLLS_WITHIN: Duration = Duration::from_secs(3);

/// How long the stages of the end take.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// It says that it is not ready, and serves as ever.
    pub unready: Duration,
    /// It takes nothing new, and its connections leave one after the other.
    pub drain: Duration,
}

/// Carries the end out, once readiness is false.
pub async fn drain(end: End, gate: &Gate, server: Server, presence: &Presence) {
    tokio::time::sleep(end.unready).await;
    gate.closed.cancel();
    let counters = server.counters().clone();
    server.drain(end.drain).await;
    let over = gate.over.clone();
    tokio::spawn(async move {
        tokio::time::sleep(POLLS_WITHIN).await;
        over.cancel();
    });
    if let Err(error) = server.stop(CloseCode::ServiceRestart.code(), STOPPING, CLOSED_WITHIN).await {
        tracing::error!(%error, "the listener failed");
    }
    let totals = counters.totals();
    let (told, overstayed, cut) = (totals.drain_told, totals.drain_overstayed, totals.drain_cut);
    tracing::info!(told, overstayed, cut, "connections are gone");
    presence.end().await;
}
