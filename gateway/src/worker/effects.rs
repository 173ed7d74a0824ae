//! Carries out the effects of the hub's calls, because the hub itself does no I/O.

use std::rc::Rc;

use super::{Worker, refill};
use crate::{
    client::{Client, Replay},
    hub::{EndedSubscription, HubEffects, LaggingSubscription},
};

impl Worker {
    /// Carries out the effects of a call of the hub. The caller must have ended its borrow of the hub.
    pub(super) fn carry_out(self: &Rc<Self>, effects: HubEffects<Client>) {
        let HubEffects { room, lagging, ended, must_refill, is_room_empty, receivers: _ } = effects;
        let Some(room) = room else { return };
        let metrics = &self.node.metrics;
        metrics.revoked.inc_by(ended.len() as u64);
        for EndedSubscription { peer, subscription } in ended {
            peer.remove_ended_subscription(&room, subscription);
        }
        if is_room_empty {
            self.node.bus.unsubscribe_room(self.index, &room);
            metrics.rooms.dec();
        }
        metrics.lagging.inc_by(lagging.len() as u64);
        let generation = self.hub.borrow().generation();
        for LaggingSubscription { peer, subscription, reached } in lagging {
            let (room, position, head, gap) = (room.clone(), reached, reached, None);
            let (was_live, source) = (true, "memory");
            let replay = Replay { room, subscription, position, head, gap, generation, was_live, source };
            self.queue_replays(&peer, vec![replay]);
        }
        if must_refill {
            tokio::task::spawn_local(refill::run_refill(self.clone(), room));
        }
    }
}
