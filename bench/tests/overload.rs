//! The load generator with an overloaded server: it backs off, and all accepted messages are delivered.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidings_bench::load::{Gate, Work};
use tidings_bench::peers::Setting;
use tidings_bench::scenario::subject::Subject;
use tidings_bench::scenario::world::World;

/// The limit of waiting records, above which sends are refused.
const BACKLOG: u64 = 80;
/// How long persistence is paused, and how long the load lasts.
const STILL: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn overload_slows_a_closed_loop_and_fails_no_send() {
    let settings = [("TIDINGS_MAX_BACKLOG_RECORDS", BACKLOG.to_string())];
    let alone = Setting { nodes: 1, stored: false };
    let mut world = World::raise(&Subject::Tidings, &alone, &[vec![0, 1, 2]], &settings).await.unwrap();
    let people = (0..3).map(|number| world.person(number, 0, vec![0])).collect();
    world.enter(people).unwrap();

    let stack = world.stack.clone().unwrap();
    stack.persistence(0).pause().unwrap();
    let resumed = tokio::spawn(async move {
        tokio::time::sleep(STILL).await;
        stack.persistence(0).resume()
    });
    let senders = vec![(0, 0), (1, 0)];
    let work = Work::Closed { senders, characters: 60, window: 4, gate: Gate::Delivered, time: TIME };
    let phase = world.work(&work).unwrap();
    resumed.await.unwrap().unwrap();

    phase.whole("behind an overload").unwrap();
    // Without pauses the window would be refused hundreds of times per second.
    let refused = phase.tally.overloads;
    assert!((1..400).contains(&refused), "{refused} refusals");
    // The load continued when the server did.
    assert!(phase.tally.sent > 2 * BACKLOG, "{} sent", phase.tally.sent);
}
