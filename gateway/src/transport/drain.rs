//! The drain of a server spreads the closing of all connections evenly over the drain time. Each peer is told when to
//! leave, according to the rank of its connection among the connections of all workers. If a connection is still open a
//! little later, its session must close it. This module may use the workers' links, and the session that a connection's
//! task passes to it. Each worker has one task per drain, independent of the number of connections.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Barrier,
    task::yield_now,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Session,
    worker::{DrainNotice, Link, Phase, TransportWorker},
};

/// Time reserved at the end of the drain, but at most a fifth of the drain time. One half is for peers that leave a
/// little late, the other half is for the last answers and closes.
const END_MARGIN: Duration = Duration::from_secs(2);
/// Maximum time for which the workers wait to exchange their numbers of connections. A worker that is late counts as
/// having no connections.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of connections that are notified before other tasks of the thread run.
const MAX_NOTIFIED_PER_TURN: usize = 128;

/// State that the workers of a server share while it drains.
#[derive(Debug)]
pub(crate) struct DrainPlan {
    started: Instant,
    /// The time over which connections leave: the first leave at its start, the last at its end.
    spread: Duration,
    /// The time between the moment at which a connection should leave and the request to close it.
    grace: Duration,
    /// The number of connections of each worker.
    counts: Vec<AtomicUsize>,
    all_counted: Barrier,
}

impl DrainPlan {
    /// Creates a drain that starts at this call and ends after `time`.
    pub(crate) fn new(workers: usize, time: Duration) -> DrainPlan {
        let margin = (time / 5).min(END_MARGIN);
        DrainPlan {
            started: Instant::now(),
            spread: time - margin,
            grace: margin / 2,
            counts: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            all_counted: Barrier::new(workers),
        }
    }

    /// Publishes a worker's number of connections, and returns the numbers of all workers.
    async fn exchange_counts(&self, worker: usize, connections: usize) -> Vec<usize> {
        if let Some(count) = self.counts.get(worker) {
            count.store(connections, Ordering::Release);
        }
        if timeout(COUNT_TIMEOUT, self.all_counted.wait()).await.is_err() {
            tracing::warn!("a worker does not answer; the other workers drain without it");
        }
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).collect()
    }

    /// The time after the start at which the connection of this rank should leave.
    fn leave_delay(&self, rank: usize, connections: usize) -> Duration {
        // Each rank has an equal share of the time, and the connection leaves in the middle of its share.
        self.spread.mul_f64((rank as f64 + 0.5) / connections.max(1) as f64)
    }
}

/// The rank of a worker's connection among the connections of all workers. The ranks of the workers interleave, so
/// that all workers are equally busy. Ranks are unique.
fn rank(counts: &[usize], worker: usize, number: usize) -> usize {
    let own = counts.get(worker).copied().unwrap_or_default().max(1) as u128;
    // A connection's position is the middle of its share of the range from 0 to 1: (2 × number + 1) / (2 × count). The
    // variable `position` is the numerator.
    let position = 2 * number as u128 + 1;
    let before = |(other, count): (usize, &usize)| {
        let scaled = position * *count as u128;
        let before = match scaled.checked_sub(own) {
            None => 0,
            // At equal positions the earlier worker comes first.
            Some(above) if other < worker => above / (2 * own) + 1,
            Some(above) => above.div_ceil(2 * own),
        };
        usize::try_from(before).unwrap_or(usize::MAX).min(*count)
    };
    counts.iter().enumerate().map(before).sum()
}

/// Tells each connection of a worker when to leave. Later asks the sessions of connections that are still open to close
/// them.
pub(crate) async fn drain_worker(worker: Rc<TransportWorker>, plan: Arc<DrainPlan>) {
    worker.tunnels.end_within(plan.spread);
    let links = worker.links();
    let counts = plan.exchange_counts(worker.number, links.len()).await;
    let all = counts.iter().sum();
    let mut leaving: Vec<(Duration, Rc<Link>)> = Vec::with_capacity(links.len());
    for (number, link) in links.into_iter().enumerate() {
        let delay = plan.leave_delay(rank(&counts, worker.number, number), all);
        let leave_after_ms = delay.saturating_sub(plan.started.elapsed()).as_millis();
        link.set_drain_notice(DrainNotice::LeaveAfter(u32::try_from(leave_after_ms).unwrap_or(u32::MAX)));
        leaving.push((delay, link));
        if number % MAX_NOTIFIED_PER_TURN == MAX_NOTIFIED_PER_TURN - 1 {
            yield_now().await;
        }
    }
    for (delay, link) in leaving {
        sleep_until(plan.started + delay + plan.grace).await;
        link.set_drain_notice(DrainNotice::RequestClose);
    }
}

/// Takes the drain notice of a link and passes it to the connection's session. Must be called by the connection's task.
pub(super) fn notify_drain(link: &Link, session: &mut impl Session) {
    if link.phase.get() != Phase::Open {
        return;
    }
    let counters = &link.worker.counters;
    match link.drain_notice.replace(DrainNotice::None) {
        DrainNotice::None => {}
        DrainNotice::LeaveAfter(leave_after_ms) => {
            counters.drain_notified.add(1);
            session.on_draining(Duration::from_millis(leave_after_ms.into()));
        }
        DrainNotice::RequestClose => {
            counters.drain_overstayed.add(1);
            session.on_overstayed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_unique_and_spread_over_workers() {
        for counts in
            [vec![5], vec![1, 1, 1], vec![100, 100], vec![101, 7, 0, 33], vec![0, 3], vec![2, 2, 2, 1]]
        {
            let all: usize = counts.iter().sum();
            let mut seen = vec![false; all];
            for (worker, count) in counts.iter().enumerate() {
                let ranks: Vec<usize> = (0..*count).map(|number| rank(&counts, worker, number)).collect();
                for rank in &ranks {
                    assert!(!std::mem::replace(&mut seen[*rank], true), "{counts:?}: {rank} twice");
                }
                for (number, rank) in ranks.iter().enumerate() {
                    let fair = (2 * number + 1) * all / (2 * count);
                    assert!(rank.abs_diff(fair) <= counts.len(), "{counts:?}: {worker} has {ranks:?}");
                }
            }
            assert!(seen.iter().all(|seen| *seen), "{counts:?}");
        }
    }

    #[test]
    fn last_connections_leave_before_drain_time_ends() {
        for (seconds, spread) in [(10, 8.0), (60, 58.0), (5, 4.0), (0, 0.0)] {
            let plan = DrainPlan::new(1, Duration::from_secs(seconds));
            let delays: Vec<f64> = (0..4).map(|rank| plan.leave_delay(rank, 4).as_secs_f64()).collect();
            let expected = [0.125, 0.375, 0.625, 0.875].map(|share| share * spread);
            assert!(delays.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.001), "{delays:?}");
            assert!(plan.spread + 2 * plan.grace <= Duration::from_secs(seconds));
        }
    }
}
