//! Tests registering and unregistering connections, and which versions of the memberships and the account count as
//! received by every connection of a user.

use super::*;

const CURRENT_EPOCH: Epoch = Epoch(7);

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn versions(rooms: u64, account: u64) -> Versions {
    Versions { rooms, account }
}

fn register(
    registry: &mut ConnectionRegistry,
    name: &str,
    key: ConnectionKey,
    known: Versions,
) -> RegistrationResult {
    let user = user(name);
    registry.begin_registration(&user);
    let notice_count = registry.notice_count(&user);
    registry.register(&user, key, notice_count, (CURRENT_EPOCH, known))
}

fn diff(registry: &ConnectionRegistry, name: &str, now: Versions) -> (bool, bool) {
    let VersionDiff { rooms, account } = registry.diff(&user(name), CURRENT_EPOCH, now);
    (rooms, account)
}

#[test]
fn channel_is_wanted_until_last_registered_and_pending_leave() {
    let mut registry = ConnectionRegistry::new(9);
    let (ann, first, second) = (user("ann"), ConnectionKey::new(0, 1), ConnectionKey::new(63, 1));
    register(&mut registry, "ann", first, versions(1, 1));
    register(&mut registry, "ann", second, versions(1, 1));
    assert_eq!(registry.workers(&ann), 1 | 1 << 63);
    registry.begin_registration(&ann);
    assert!(
        !registry.unregister(&ann, first)
            && !registry.unregister(&ann, first)
            && !registry.unregister(&ann, second)
    );
    assert!(registry.cancel_registration(&ann), "the pending connection did not come");
    assert_eq!(registry.user_count(), 0);
    assert!(
        !registry.cancel_registration(&ann) && !registry.unregister(&ann, first),
        "a second call changes nothing"
    );
}

#[test]
fn late_confirmation_does_not_confirm_new_generation() {
    let mut registry = ConnectionRegistry::new(9);
    let ann = user("ann");
    let first = registry.begin_registration(&ann);
    assert_eq!(registry.begin_registration(&ann), first);
    registry.cancel_registration(&ann);
    assert!(registry.cancel_registration(&ann));
    let second = registry.begin_registration(&ann);
    registry.confirm_channel(&ann, first);
    assert!(!registry.is_channel_confirmed(&ann));
    registry.confirm_channel(&ann, second);
    assert!(registry.is_channel_confirmed(&ann));
}

#[test]
fn surplus_connection_evicts_oldest_but_polls_do_not_count() {
    let mut registry = ConnectionRegistry::new(2);
    let key = |worker, id| ConnectionKey::new(worker, id);
    let add = |registry: &mut ConnectionRegistry, key| register(registry, "ann", key, versions(1, 1)).surplus;
    assert_eq!(add(&mut registry, key(1, 5)), None);
    assert_eq!(add(&mut registry, key(0, 1 << 63 | 5)), None, "a poll");
    assert_eq!(add(&mut registry, key(0, 5)), None);
    assert_eq!(add(&mut registry, key(0, 6)), Some(key(1, 5)));
    assert_eq!(add(&mut registry, key(0, 7)), Some(key(0, 5)), "the first connection is removed already");
    registry.restore_oldest(&user("ann"), key(0, 5));
    assert_eq!(add(&mut registry, key(1, 8)), Some(key(0, 5)), "its close was not queued before");
    assert_eq!(
        register(&mut registry, "bob", key(1, 9), versions(1, 1)).surplus,
        None,
        "connections of other users do not count"
    );
}

#[test]
fn versions_differ_until_all_connections_know_them() {
    let mut registry = ConnectionRegistry::new(9);
    register(&mut registry, "ann", ConnectionKey::new(0, 1), versions(3, 1));
    assert_eq!(diff(&registry, "ann", versions(3, 1)), (false, false));
    assert_eq!(diff(&registry, "ann", versions(4, 1)), (true, false));
    assert_eq!(diff(&registry, "ann", versions(3, 2)), (false, true));
    // The second connection has version 4, but the first still has version 3.
    register(&mut registry, "ann", ConnectionKey::new(0, 2), versions(4, 1));
    assert_eq!(diff(&registry, "ann", versions(4, 1)), (true, false));
    let notice_count = registry.notice_count(&user("ann"));
    registry.mark_rooms_sent(&user("ann"), notice_count, CURRENT_EPOCH, 4);
    assert_eq!(diff(&registry, "ann", versions(4, 1)), (false, false));
}

#[test]
fn notice_invalidates_known_version() {
    let mut registry = ConnectionRegistry::new(9);
    let ann = user("ann");
    register(&mut registry, "ann", ConnectionKey::new(0, 1), versions(3, 1));
    let before = registry.notice_count(&ann);
    assert_eq!(registry.count_notice("ann"), Some(ann.clone()));
    registry.invalidate_rooms(&ann);
    assert_eq!(diff(&registry, "ann", versions(3, 1)), (true, false));
    // A check that began before the notice must not mark the version as sent.
    registry.mark_rooms_sent(&ann, before, CURRENT_EPOCH, 3);
    assert_eq!(diff(&registry, "ann", versions(3, 1)), (true, false));
    assert_eq!(registry.count_notice("bob"), None);
}

#[test]
fn notice_during_admission_is_not_missed() {
    let mut registry = ConnectionRegistry::new(9);
    let ann = user("ann");
    registry.begin_registration(&ann);
    let notice_count = registry.notice_count(&ann);
    registry.count_notice("ann");
    assert!(
        registry
            .register(&ann, ConnectionKey::new(0, 1), notice_count, (CURRENT_EPOCH, versions(1, 1)))
            .missed_notice
    );
    assert!(!register(&mut registry, "ann", ConnectionKey::new(0, 2), versions(1, 1)).missed_notice);
}

#[test]
fn check_during_admission_requests_another_check() {
    let (mut registry, ann) = (ConnectionRegistry::new(10), user("ann"));
    registry.begin_registration(&ann);
    let notice_count = registry.notice_count(&ann);
    // The result of the check is sent to registered connections only, and marks the newer version as sent.
    let notice_count_of_check = registry.begin_check(&ann);
    registry.mark_rooms_sent(&ann, notice_count_of_check, CURRENT_EPOCH, 2);
    assert!(
        registry
            .register(&ann, ConnectionKey::new(0, 1), notice_count, (CURRENT_EPOCH, versions(1, 1)))
            .missed_notice
    );
    assert_eq!(registry.begin_check(&ann), registry.begin_check(&ann), "no connection is pending");
}

#[test]
fn versions_of_earlier_epoch_do_not_count() {
    let mut registry = ConnectionRegistry::new(9);
    let (ann, bob) = (user("ann"), user("bob"));
    register(&mut registry, "ann", ConnectionKey::new(0, 1), versions(3, 1));
    let diff_in = |registry: &ConnectionRegistry, epoch, user| registry.diff(user, epoch, versions(3, 1));
    let all = VersionDiff { rooms: true, account: true };
    assert_eq!(diff_in(&registry, Epoch(8), &ann), all);
    registry.begin_registration(&bob);
    registry.register(&bob, ConnectionKey::new(0, 2), 0, (Epoch(8), versions(3, 1)));
    assert_eq!(diff_in(&registry, Epoch(8), &ann), all, "the same versions of another epoch");
    assert_eq!(diff_in(&registry, Epoch(8), &bob), VersionDiff { rooms: false, account: false });
    registry.mark_rooms_sent(&ann, 0, CURRENT_EPOCH, 3);
    assert_eq!(diff_in(&registry, Epoch(8), &ann), all, "sent for the epoch before");
}

#[test]
fn new_epoch_of_partition_outdates_its_users_only() {
    let mut registry = ConnectionRegistry::new(9);
    let (ann, bob) = (user("ann"), user("bob"));
    let partitions = [&ann, &bob].map(Partition::of_user);
    assert_ne!(partitions[0], partitions[1]);
    register(&mut registry, "ann", ConnectionKey::new(0, 1), versions(3, 1));
    registry.begin_registration(&bob);
    registry.register(&bob, ConnectionKey::new(0, 2), 0, (Epoch(8), versions(3, 1)));
    assert_eq!(diff(&registry, "ann", versions(3, 1)), (false, false));
    assert_eq!(diff(&registry, "bob", versions(3, 1)), (true, true), "an answer of the epoch before");
    assert!(registry.differs_by_epoch_only(&ann, Epoch(8)));
    let users = |set| registry.users_of(set).collect::<Vec<_>>();
    assert_eq!(users(PartitionSet::from(partitions[0])), [&ann]);
    assert_eq!(users(PartitionSet::ALL).len(), 2);
}
