//! The tunnels of one worker: WebSockets that it forwards to other nodes. They count towards the worker's maximum of
//! connections. When the node stops, it spreads their ends over the drain time, because it cannot tell their clients to
//! leave.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::counters::WorkerCounters;

/// The fraction of the golden ratio. The fractions of its multiples are spread evenly from 0 to 1 for any number of
/// tunnels.
const GOLDEN_FRACTION: f64 = 0.618_034;

/// The state that the tunnels of one worker share.
pub(crate) struct Tunnels {
    counters: Arc<WorkerCounters>,
    /// The number of tunnels so far.
    opened: Cell<u32>,
    /// The time within which all tunnels must end; `None` while the node serves.
    end_within: watch::Sender<Option<Duration>>,
}

impl Tunnels {
    pub(crate) fn new(counters: &Arc<WorkerCounters>) -> Rc<Tunnels> {
        let (counters, opened) = (Arc::clone(counters), Cell::new(0));
        Rc::new(Tunnels { counters, opened, end_within: watch::Sender::new(None) })
    }

    /// The number of open tunnels.
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.counters.engine_tunnels.get()).unwrap_or(usize::MAX)
    }

    /// Counts a new tunnel. Must be called before the node is connected.
    pub(crate) fn open(self: &Rc<Self>) -> OpenTunnel {
        let number = self.opened.get().wrapping_add(1);
        self.opened.set(number);
        self.counters.engine_tunnels.add(1);
        OpenTunnel { tunnels: Rc::clone(self), share: (f64::from(number) * GOLDEN_FRACTION).fract() }
    }

    /// Ends all tunnels within this time, spread evenly.
    pub(crate) fn end_within(&self, time: Duration) {
        self.end_within.send_replace(Some(time));
    }
}

/// Counts as an open tunnel until it is dropped.
pub(crate) struct OpenTunnel {
    tunnels: Rc<Tunnels>,
    /// The tunnel ends after this fraction of the time within which all tunnels must end.
    share: f64,
}

impl OpenTunnel {
    /// Returns when the tunnel must end because the node stops.
    pub(crate) async fn wait_for_stop(&self) {
        let mut end_within = self.tunnels.end_within.subscribe();
        loop {
            let time = *end_within.borrow_and_update();
            let changed = match time {
                None => end_within.changed().await,
                Some(time) => tokio::select! {
                    () = sleep(time.mul_f64(self.share)) => return,
                    changed = end_within.changed() => changed,
                },
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.tunnels.counters.engine_tunnels.subtract(1);
    }
}
