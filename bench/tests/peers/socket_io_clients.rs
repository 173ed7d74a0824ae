//! The load generator with Socket.IO clients of a gateway: it recognises acks, deliveries and refusals.

use std::time::Duration;

use tidings_bench::load::{Completion, Work, fixed_rate_work};
use tidings_bench::peers::ServerRequirements;
use tidings_bench::scenario::subject::Subject;
use tidings_bench::scenario::world::World;

const ONE_NODE: ServerRequirements = ServerRequirements { nodes: 1, stored: false };
const LOAD_TIME: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_acked_and_delivered_in_order() {
    let members = [vec![0, 1, 2]];
    let mut world = World::start(&Subject::TidingsSocketIo, &ONE_NODE, &members, &[]).await.unwrap();
    world.load.check_order();
    let people = (0..3).map(|number| world.client_spec(number, 0, vec![0])).collect();
    world.connect_all(people).unwrap();
    let senders = vec![(0, 0), (1, 0)];
    let completion = Completion::Acked;
    let work = Work::Closed { senders, characters: 60, window: 4, completion, time: LOAD_TIME };
    let phase = world.run(&work).unwrap();
    phase.ensure_valid("Socket.IO clients").unwrap();
    let tally = phase.tally;
    assert!(tally.sent > 10, "{} sent", tally.sent);
    assert_eq!((tally.acked, tally.ack.len()), (tally.sent, tally.sent), "each ack belongs to its send");
    assert_eq!((tally.delivered, tally.out_of_order), (3 * tally.sent, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_message_counts_as_refused() {
    let members = [vec![0], vec![1]];
    let mut world = World::start(&Subject::TidingsSocketIo, &ONE_NODE, &members, &[]).await.unwrap();
    let people = (0..2).map(|number| world.client_spec(number, 0, vec![number])).collect();
    world.connect_all(people).unwrap();
    // The first client is no member of the second room.
    let phase = world.run(&fixed_rate_work(&[(0, 1)], 60, 1.0, LOAD_TIME)).unwrap();
    let tally = phase.tally;
    assert_eq!((tally.sent, tally.acked, tally.refused, tally.delivered), (1, 0, 1, 0));
    assert!(tally.refusal.as_deref().unwrap().starts_with("43"), "{:?}", tally.refusal);
}
