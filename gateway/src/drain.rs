//! The shutdown of a gateway. The node reports that it is not ready, then drains (no connection is accepted, and the
//! open connections leave one after the other), then closes the remaining connections, ends its presence lease
//! and removes its address.

use std::time::Duration;

use tidings_shared::protocol::CloseCode;

use crate::{
    bus::NodeAnnouncement, client::CLOSE_REASON_STOPPING, presence::Presence, session::AdmissionControl,
    transport::Server,
};

/// After the drain, a client that is still connected has this time to answer the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);
/// After the drain, a long poll has this time to wait for the answers to its commands.
const POLL_END_DELAY: Duration = Duration::from_secs(3);

/// Carries out the shutdown. The caller has already made the node report that it is not ready. The node serves as
/// before for `unready_time`. Then the open connections leave one after the other over `drain_time`.
pub async fn shut_down(
    unready_time: Duration,
    drain_time: Duration,
    admission: &AdmissionControl,
    server: Server,
    presence: &Presence,
    announcement: Option<&NodeAnnouncement>,
) {
    tokio::time::sleep(unready_time).await;
    admission.draining.cancel();
    let counters = server.counters().clone();
    server.drain(drain_time).await;
    let polls_must_end = admission.polls_must_end.clone();
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
    // Other gateways need the address as long as this node has sessions.
    let end_announcement = async {
        if let Some(announcement) = announcement {
            announcement.end().await;
        }
    };
    tokio::join!(presence.end(), end_announcement);
}
