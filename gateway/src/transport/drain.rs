//! The end of all connections of a server, spread evenly over the drain time: each is told when to leave, by its rank
//! among those of all workers, and is called upon to go a little after, should it still be there.
//! It may touch the workers' links, and a session that its connection's task lends. One task per worker and drain, however many connections there are.

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
    link::{Farewell, Link, Phase},
    worker::Worker,
};

/// Kept free at the end of the drain time, at most, and at most a fifth of it: half of it for those who left a little
/// late, the rest for the last answers and closes.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the workers wait for each other to say how many connections they have. One that does not is not counted.
const MUSTER_PATIENCE: Duration = Duration::from_secs(1);
/// Connections told before other tasks of the thread get their turn.
const TOLD_PER_TURN: usize = 128;

/// What the workers of a server share while it drains.
#[derive(Debug)]
pub(crate) struct Drain {
    begun: Instant,
    /// The first are told to leave at its begin, the last at its end.
    spread: Duration,
    /// From the moment at which a connection should have left to the one at which it is called upon to go.
    patience: Duration,
    /// Connections of each worker.
    counts: Vec<AtomicUsize>,
    all_counted: Barrier,
}

impl Drain {
    /// Begins now, to be over after `time`.
    pub(crate) fn new(workers: usize, time: Duration) -> Drain {
        let margin = (time / 5).min(MARGIN);
        Drain {
            begun: Instant::now(),
            spread: time - margin,
            patience: margin / 2,
            counts: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            all_counted: Barrier::new(workers),
        }
    }

    /// Says how many connections a worker has, and hears how many the others have.
    async fn muster(&self, worker: usize, connections: usize) -> Vec<usize> {
        if let Some(count) = self.counts.get(worker) {
            count.store(connections, Ordering::Release);
        }
        if timeout(MUSTER_PATIENCE, self.all_counted.wait()).await.is_err() {
            tracing::warn!("a worker does not answer: the others drain without it");
        }
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).collect()
    }

    /// How long after the begin a connection of this rank among so many should leave.
    fn delay(&self, rank: usize, connections: usize) -> Duration {
        // In the middle of its share of the time.
        self.spread.mul_f64((rank as f64 + 0.5) / connections.max(1) as f64)
    }
}

/// Rank of a worker's connection of this number among those of all workers, whose numbers are given: their ranks
/// interleave, so that no worker is ever busier than the others. No two have the same.
fn rank(counts: &[usize], worker: usize, number: usize) -> usize {
    let own = counts.get(worker).copied().unwrap_or_default().max(1) as u128;
    // A connection's place is the middle of its share of the whole: (2 × number + 1) / (2 × count).
    let place = 2 * number as u128 + 1;
    let before = |(other, count): (usize, &usize)| {
        let scaled = place * *count as u128;
        let before = match scaled.checked_sub(own) {
            None => 0,
            // Of those at the very same place the earlier worker's comes first.
            Some(above) if other < worker => above / (2 * own) + 1,
            Some(above) => above.div_ceil(2 * own),
        };
        usize::try_from(before).unwrap_or(usize::MAX).min(*count)
    };
    counts.iter().enumerate().map(before).sum()
}

/// Tells each connection of a worker when to leave, and calls upon those that are still there a little after.
pub(crate) async fn drain(worker: Rc<Worker>, plan: Arc<Drain>) {
    let links = worker.links();
    let counts = plan.muster(worker.number, links.len()).await;
    let all = counts.iter().sum();
    let mut leaving: Vec<(Duration, Rc<Link>)> = Vec::with_capacity(links.len());
    for (number, link) in links.into_iter().enumerate() {
        let delay = plan.delay(rank(&counts, worker.number, number), all);
        link.tell_draining(delay.saturating_sub(plan.begun.elapsed()));
        leaving.push((delay, link));
        if number % TOLD_PER_TURN == TOLD_PER_TURN - 1 {
            yield_now().await;
        }
    }
    for (delay, link) in leaving {
        sleep_until(plan.begun + delay + plan.patience).await;
        link.call_upon();
    }
}

/// Tells a session what it is to be told of the end of its server. Called by the connection's own task.
pub(super) fn bid_farewell(link: &Link, session: &mut impl Session) {
    if link.phase.get() != Phase::Open {
        return;
    }
    let counters = &link.worker.counters;
    match link.farewell.replace(Farewell::None) {
        Farewell::None => {}
        Farewell::Tell(leave_after_ms) => {
            counters.drain_told.add(1);
            session.on_draining(Duration::from_millis(leave_after_ms.into()));
        }
        Farewell::CallUpon => {
            counters.drain_overstayed.add(1);
            session.on_overstayed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_all_workers_are_all_numbers_once_and_each_workers_are_spread_over_them() {
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
    fn the_last_leave_in_time_to_be_closed() {
        for (seconds, spread) in [(10, 8.0), (60, 58.0), (5, 4.0), (0, 0.0)] {
            let plan = Drain::new(1, Duration::from_secs(seconds));
            let delays: Vec<f64> = (0..4).map(|rank| plan.delay(rank, 4).as_secs_f64()).collect();
            let expected = [0.125, 0.375, 0.625, 0.875].map(|share| share * spread);
            assert!(delays.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.001), "{delays:?}");
            assert!(plan.spread + 2 * plan.patience <= Duration::from_secs(seconds));
        }
    }
}
