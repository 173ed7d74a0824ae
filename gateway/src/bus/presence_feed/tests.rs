//! Tests that no presence change is missed or sent twice when partitions go offline.

use super::*;

fn change(ms: u64) -> PresenceChange {
    PresenceChange::parse(format!("{ms}-0 1 a o 0 r").as_bytes()).unwrap()
}

/// Ends a read of all partitions. Returns whether no partition needs another read.
fn finish_read(presence_feed: &PresenceFeed) -> bool {
    let mut progress = lock(&presence_feed.progress);
    progress.0.iter_mut().for_each(|progress| progress.finish_read(progress.connection_changes));
    progress.0.iter().all(|progress| !progress.behind)
}

fn connect(presence_feed: &PresenceFeed, process: &str) {
    presence_feed.mark_connected(&process.into(), PartitionSet::ALL);
}

#[test]
fn missed_changes_come_before_published_ones_and_only_once() {
    let presence_feed = PresenceFeed::default();
    connect(&presence_feed, "process");
    assert!(
        lock(&presence_feed.progress).accept_published(&change(1)),
        "the node missed nothing at the start"
    );
    presence_feed.mark_disconnected(PartitionSet::ALL);
    assert!(
        !lock(&presence_feed.progress).accept_published(&change(3)),
        "the change is read from the stream later"
    );
    connect(&presence_feed, "process");
    assert!(!lock(&presence_feed.progress).accept_published(&change(4)));
    assert!([1, 2, 3].map(|ms| lock(&presence_feed.progress).advance(&change(ms))) == [false, true, true]);
    assert!(!finish_read(&presence_feed), "change 4 was not read");
    assert!(lock(&presence_feed.progress).advance(&change(4)));
    assert!(finish_read(&presence_feed));
    assert!(
        !lock(&presence_feed.progress).accept_published(&change(4))
            && lock(&presence_feed.progress).accept_published(&change(5))
    );
}

#[test]
fn new_redis_process_is_read_from_its_beginning() {
    let presence_feed = PresenceFeed::default();
    connect(&presence_feed, "one");
    assert!(lock(&presence_feed.progress).accept_published(&change(9)));
    presence_feed.mark_disconnected(PartitionSet::ALL);
    connect(&presence_feed, "other");
    assert!(
        !lock(&presence_feed.progress).accept_published(&change(5)),
        "earlier changes of the process are read first"
    );
    assert!(lock(&presence_feed.progress).advance(&change(5)) && finish_read(&presence_feed));
}

#[test]
fn read_across_reconnect_does_not_end_catch_up() {
    let presence_feed = PresenceFeed::default();
    let partition = change(7).partition().index();
    let finish_read_of = |connection_changes| {
        let mut progress = lock(&presence_feed.progress);
        progress.0[partition].finish_read(connection_changes);
        !progress.0[partition].behind
    };
    connect(&presence_feed, "one");
    presence_feed.mark_disconnected(PartitionSet::ALL);
    connect(&presence_feed, "one");
    let connection_changes = lock(&presence_feed.progress).0[partition].connection_changes;
    presence_feed.mark_disconnected(PartitionSet::ALL);
    assert!(!finish_read_of(connection_changes), "the connection is down");
    connect(&presence_feed, "one");
    assert!(!finish_read_of(connection_changes), "changes during the interruption were not read");
    assert!(
        !lock(&presence_feed.progress).accept_published(&change(7)),
        "sending a published change would hide the missed ones"
    );
    assert!(lock(&presence_feed.progress).advance(&change(7)) && finish_read(&presence_feed));
}

#[test]
fn lost_partition_is_read_alone() {
    let presence_feed = PresenceFeed::default();
    connect(&presence_feed, "one");
    let (of_a, of_bob) = (change(1), PresenceChange::parse(b"1-0 1 bob o 0 r").unwrap());
    assert_ne!(of_a.partition(), of_bob.partition());
    let lost = PartitionSet::from(of_a.partition().partition());
    presence_feed.mark_disconnected(lost);
    assert!(lock(&presence_feed.progress).partitions_behind().is_empty(), "nothing can be read yet");
    assert!(!lock(&presence_feed.progress).accept_published(&of_a));
    assert!(lock(&presence_feed.progress).accept_published(&of_bob));
    presence_feed.mark_connected(&"other".into(), lost);
    assert_eq!(lock(&presence_feed.progress).partitions_behind(), [of_a.partition()]);
    presence_feed.mark_disconnected(PartitionSet::ALL - lost);
    presence_feed.mark_connected(&"one".into(), PartitionSet::ALL - lost);
    assert_eq!(lock(&presence_feed.progress).partitions_behind().len(), PresencePartition::all().count());
    assert!(!lock(&presence_feed.progress).advance(&of_bob), "its process kept its positions");
}
