//! The load generator with an overloaded server: it backs off, and every message that was accepted is delivered.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidings_bench::load::{Completion, Work};
use tidings_bench::peers::ServerRequirements;
use tidings_bench::scenario::subject::Subject;
use tidings_bench::scenario::world::World;

/// The limit of the records that wait to be stored. At the limit sends are refused.
const MAX_BACKLOG_RECORDS: u64 = 80;
/// How long persistence is paused, and how long the load lasts.
const PAUSE_TIME: Duration = Duration::from_secs(2);
const LOAD_TIME: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn overload_slows_a_closed_loop_and_fails_no_send() {
    let settings = [("TIDINGS_MAX_BACKLOG_RECORDS", MAX_BACKLOG_RECORDS.to_string())];
    let alone = ServerRequirements { nodes: 1, stored: false };
    let mut world = World::start(&Subject::Tidings, &alone, &[vec![0, 1, 2]], &settings).await.unwrap();
    let people = (0..3).map(|number| world.client_spec(number, 0, vec![0])).collect();
    world.connect_all(people).unwrap();

    let stack = world.stack.clone().unwrap();
    stack.persistence(0).pause().unwrap();
    let resumed = tokio::spawn(async move {
        tokio::time::sleep(PAUSE_TIME).await;
        stack.persistence(0).resume()
    });
    let senders = vec![(0, 0), (1, 0)];
    let work = Work::Closed {
        senders,
        characters: 60,
        window: 4,
        completion: Completion::Delivered,
        time: LOAD_TIME,
    };
    let phase = world.run(&work).unwrap();
    resumed.await.unwrap().unwrap();

    phase.ensure_valid("behind an overload").unwrap();
    // Without backoff, all sends of the window would be refused hundreds of times per second.
    let refused = phase.tally.overload_refusals;
    assert!((1..400).contains(&refused), "{refused} refusals");
    // Sends continued after persistence had resumed.
    assert!(phase.tally.sent > 2 * MAX_BACKLOG_RECORDS, "{} sent", phase.tally.sent);
}
