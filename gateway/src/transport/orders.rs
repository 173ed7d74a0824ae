//! The orders of the server to its workers: to drain, close or drop all connections. One task per worker waits for
//! them.

use std::{rc::Rc, sync::Arc};

use tokio::{sync::watch, task::spawn_local};

use super::{
    drain::{Drain, drain},
    worker::{Phase, TransportWorker},
};

#[derive(Debug, Clone, Default)]
pub(crate) enum Order {
    #[default]
    Serve,
    /// Tell every connection when to leave, and open no more.
    Drain(Arc<Drain>),
    /// Close every connection with this code and reason, and open no more.
    Close(u16, String),
    /// Drop all remaining connections.
    Abort,
}

pub(crate) async fn follow_orders(worker: Rc<TransportWorker>, mut orders: watch::Receiver<Order>) {
    loop {
        let order = orders.borrow_and_update().clone();
        match order {
            Order::Serve => {}
            Order::Drain(plan) => {
                worker.stop();
                spawn_local(drain(Rc::clone(&worker), plan));
            }
            Order::Close(code, reason) => {
                if worker.stop() {
                    let open = worker.links().iter().filter(|link| link.phase.get() == Phase::Open).count();
                    worker.counters.drain_cut.add(open);
                }
                worker.links().iter().for_each(|link| link.close(code, &reason));
            }
            Order::Abort => {
                worker.stop();
                worker.links().iter().for_each(|link| link.abort());
            }
        }
        if orders.changed().await.is_err() {
            return;
        }
    }
}
