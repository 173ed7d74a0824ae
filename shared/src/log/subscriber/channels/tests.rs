//! Tests that requests and events of a partition follow its owner.

use super::*;

/// For each event whether partitions are online, and which.
type Events = Arc<Mutex<Vec<(bool, PartitionSet)>>>;

/// Returns the channels, and the list of their events.
fn channels() -> (Channels, Events) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let list = events.clone();
    let handler = move |event: Event<'_>| match event {
        Event::Messages(_) => {}
        Event::Online { partitions, .. } => lock(&list).push((true, partitions)),
        Event::Offline { partitions } => lock(&list).push((false, partitions)),
    };
    (Channels::new(Arc::new(handler)), events)
}

/// Gives partition 1 to `second`, and all others to `first`.
fn assign(channels: &Channels, first: &TaskWake, second: &TaskWake) {
    let owner = |partition| if partition == Partition(1) { second } else { first };
    channels.set_owners(Partition::all().map(|partition| Some(owner(partition).clone())).collect());
}

fn take_channels(channels: &Channels, task: &TaskWake) -> Vec<String> {
    channels.take_missing(task).1.iter().map(ToString::to_string).collect()
}

fn run_id() -> Arc<str> {
    "process".into()
}

fn moved() -> PartitionSet {
    PartitionSet::from(Partition(1))
}

#[test]
fn events_of_moved_partition_are_those_of_its_owner() {
    let (channels, events) = channels();
    let (first, second) = (TaskWake::default(), TaskWake::default());
    assign(&channels, &first, &first);
    assert_eq!(channels.take_missing(&first).0, PartitionSet::ALL);
    channels.set_online(&first, PartitionSet::ALL, &run_id());
    assign(&channels, &first, &second);
    // The former owner learns of the move late.
    channels.lose(&first, moved());
    channels.set_online(&first, moved(), &run_id());
    assert_eq!(channels.take_missing(&second).0, moved());
    channels.set_online(&second, moved(), &run_id());
    channels.lose(&first, PartitionSet::ALL);
    let others = PartitionSet::ALL - moved();
    let expected = [(true, PartitionSet::ALL), (false, moved()), (true, moved()), (false, others)];
    assert_eq!(*lock(&events), expected);
}

#[test]
fn partition_that_returned_must_be_taken_again() {
    let (channels, events) = channels();
    let (first, second) = (TaskWake::default(), TaskWake::default());
    assign(&channels, &first, &first);
    channels.take_missing(&first);
    assign(&channels, &first, &second);
    assign(&channels, &first, &first);
    // Channels that became wanted meanwhile are not among those that were taken before.
    let mut confirmed = channels.subscribe("{01}:a".to_owned()).unwrap();
    channels.set_online(&first, moved(), &run_id());
    assert!(lock(&events).is_empty() && confirmed.try_recv().is_err());
    assert_eq!(take_channels(&channels, &first), ["{01}:a"]);
    channels.set_online(&first, moved(), &run_id());
    assert_eq!((lock(&events).len(), confirmed.try_recv()), (1, Ok(())));
}

#[test]
fn waiting_caller_is_confirmed_by_the_next_owner() {
    let (channels, _events) = channels();
    let (first, second) = (TaskWake::default(), TaskWake::default());
    assign(&channels, &first, &first);
    channels.take_missing(&first);
    let mut refused = channels.subscribe("{01}:refused".to_owned()).unwrap();
    let mut kept = channels.subscribe("{02}:kept".to_owned()).unwrap();
    let changes = channels.take_changes(&first);
    let mut queued = channels.subscribe("{01}:queued".to_owned()).unwrap();
    assert_eq!(changes.len(), 2);
    channels.finish_changes(changes.into_iter(), moved());
    assert_eq!((kept.try_recv(), refused.try_recv().is_err()), (Ok(()), true));
    assign(&channels, &first, &second);
    assert!(channels.take_changes(&first).is_empty() && channels.take_changes(&second).is_empty());
    let mut taken = take_channels(&channels, &second);
    taken.sort();
    assert_eq!(taken, ["{01}:queued", "{01}:refused"]);
    channels.set_online(&second, moved(), &run_id());
    assert_eq!((queued.try_recv(), refused.try_recv()), (Ok(()), Ok(())));
}

#[test]
fn last_request_for_a_channel_decides() {
    let (channels, _events) = channels();
    let task = TaskWake::default();
    assign(&channels, &task, &task);
    channels.take_missing(&task);
    let _confirmed = channels.subscribe("a".to_owned());
    assert!(channels.unsubscribe("a") && channels.unsubscribe("unknown"));
    let wanted: Vec<bool> = channels.take_changes(&task).iter().map(|change| change.is_wanted).collect();
    assert_eq!(wanted, [false, false]);
}

#[test]
fn requests_above_the_capacity_are_refused() {
    let (channels, _events) = channels();
    let task = TaskWake::default();
    assign(&channels, &task, &task);
    channels.take_missing(&task);
    let accepted = (0..=QUEUE_CAPACITY).filter(|n| channels.subscribe(n.to_string()).is_some()).count();
    assert_eq!(accepted, QUEUE_CAPACITY);
    assert!(!channels.unsubscribe("0"));
    assert_eq!(channels.take_changes(&task).len(), QUEUE_CAPACITY);
    assert!(channels.unsubscribe("0"));
}

#[test]
fn reconnect_ends_with_the_next_take() {
    let (channels, _events) = channels();
    let (first, second) = (TaskWake::default(), TaskWake::default());
    assign(&channels, &first, &second);
    channels.take_missing(&second);
    channels.request_reconnect(Partition(1));
    assert!(channels.must_reconnect(&second) && !channels.must_reconnect(&first));
    channels.lose(&second, PartitionSet::ALL);
    channels.take_missing(&second);
    assert!(!channels.must_reconnect(&second));
}
