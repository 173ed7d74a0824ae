//! Coming, going, and what of the versions is known to all connections of a user.

use super::*;

const NOW: Epoch = Epoch(7);

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn versions(rooms: u64, account: u64) -> Versions {
    Versions { rooms, account }
}

/// A connection comes in and takes its place.
fn come(seats: &mut Seats, name: &str, place: Place, known: Versions) -> Seated {
    let user = user(name);
    seats.enter(&user);
    let news = seats.news(&user);
    seats.sit(&user, place, news, (NOW, known))
}

fn differs(seats: &Seats, name: &str, now: Versions) -> (bool, bool) {
    let Differs { rooms, account } = seats.differs(&user(name), NOW, now);
    (rooms, account)
}

#[test]
fn a_channel_is_wanted_until_the_last_connection_and_the_last_on_its_way_is_gone() {
    let mut seats = Seats::new(9);
    let (ann, first, second) = (user("ann"), Place::new(0, 1), Place::new(63, 1));
    come(&mut seats, "ann", first, versions(1, 1));
    come(&mut seats, "ann", second, versions(1, 1));
    assert_eq!(seats.workers(&ann), 1 | 1 << 63);
    seats.enter(&ann);
    assert!(!seats.rise(&ann, first) && !seats.rise(&ann, first) && !seats.rise(&ann, second));
    assert!(seats.turn_back(&ann), "who was on the way in did not come");
    assert_eq!(seats.len(), 0);
    assert!(!seats.turn_back(&ann) && !seats.rise(&ann, first), "again changes nothing");
}

#[test]
fn a_late_confirmation_is_none_of_a_channel_that_was_asked_for_again() {
    let mut seats = Seats::new(9);
    let ann = user("ann");
    let first = seats.enter(&ann);
    assert_eq!(seats.enter(&ann), first);
    seats.turn_back(&ann);
    assert!(seats.turn_back(&ann));
    let second = seats.enter(&ann);
    seats.confirm(&ann, first);
    assert!(!seats.is_confirmed(&ann));
    seats.confirm(&ann, second);
    assert!(seats.is_confirmed(&ann));
}

#[test]
fn one_too_many_makes_the_oldest_go_wherever_it_is_and_polls_do_not_count() {
    let mut seats = Seats::new(2);
    let place = |worker, id| Place::new(worker, id);
    let add = |seats: &mut Seats, place| come(seats, "ann", place, versions(1, 1)).surplus;
    assert_eq!(add(&mut seats, place(1, 5)), None);
    assert_eq!(add(&mut seats, place(0, 1 << 63 | 5)), None, "a poll");
    assert_eq!(add(&mut seats, place(0, 5)), None);
    assert_eq!(add(&mut seats, place(0, 6)), Some(place(1, 5)));
    assert_eq!(add(&mut seats, place(0, 7)), Some(place(0, 5)), "the first is on its way out already");
    seats.keep(&user("ann"), place(0, 5));
    assert_eq!(add(&mut seats, place(1, 8)), Some(place(0, 5)), "it could not be told before");
    assert_eq!(come(&mut seats, "bob", place(1, 9), versions(1, 1)).surplus, None, "others do not count");
}

#[test]
fn versions_differ_until_all_connections_know_them() {
    let mut seats = Seats::new(9);
    come(&mut seats, "ann", Place::new(0, 1), versions(3, 1));
    assert_eq!(differs(&seats, "ann", versions(3, 1)), (false, false));
    assert_eq!(differs(&seats, "ann", versions(4, 1)), (true, false));
    assert_eq!(differs(&seats, "ann", versions(3, 2)), (false, true));
    // The second knows of 4, of which the first was not told.
    come(&mut seats, "ann", Place::new(0, 2), versions(4, 1));
    assert_eq!(differs(&seats, "ann", versions(4, 1)), (true, false));
    let news = seats.news(&user("ann"));
    seats.told_rooms(&user("ann"), news, NOW, 4);
    assert_eq!(differs(&seats, "ann", versions(4, 1)), (false, false));
}

#[test]
fn after_a_notice_the_version_is_not_known_any_more() {
    let mut seats = Seats::new(9);
    let ann = user("ann");
    come(&mut seats, "ann", Place::new(0, 1), versions(3, 1));
    let before = seats.news(&ann);
    assert_eq!(seats.hear("ann"), Some(ann.clone()));
    seats.unsure_of_rooms(&ann);
    assert_eq!(differs(&seats, "ann", versions(3, 1)), (true, false));
    // What was compared before the notice came says nothing about it.
    seats.told_rooms(&ann, before, NOW, 3);
    assert_eq!(differs(&seats, "ann", versions(3, 1)), (true, false));
    assert_eq!(seats.hear("bob"), None);
}

#[test]
fn a_notice_while_somebody_is_on_the_way_in_is_not_missed() {
    let mut seats = Seats::new(9);
    let ann = user("ann");
    seats.enter(&ann);
    let news = seats.news(&ann);
    seats.hear("ann");
    assert!(seats.sit(&ann, Place::new(0, 1), news, (NOW, versions(1, 1))).missed);
    assert!(!come(&mut seats, "ann", Place::new(0, 2), versions(1, 1)).missed);
}

#[test]
fn a_look_while_somebody_is_on_the_way_in_has_them_looked_at_again() {
    let (mut seats, ann) = (Seats::new(10), user("ann"));
    seats.enter(&ann);
    let news = seats.news(&ann);
    // The look tells those who are seated, and notes the newer version as known.
    let looked = seats.looked_at(&ann);
    seats.told_rooms(&ann, looked, NOW, 2);
    assert!(seats.sit(&ann, Place::new(0, 1), news, (NOW, versions(1, 1))).missed);
    assert_eq!(seats.looked_at(&ann), seats.looked_at(&ann), "nobody is on the way in");
}

#[test]
fn nothing_known_of_an_epoch_before_counts_in_the_next() {
    let mut seats = Seats::new(9);
    let (ann, bob) = (user("ann"), user("bob"));
    come(&mut seats, "ann", Place::new(0, 1), versions(3, 1));
    let both = |seats: &Seats, epoch, user| seats.differs(user, epoch, versions(3, 1));
    let all = Differs { rooms: true, account: true };
    assert_eq!(both(&seats, Epoch(8), &ann), all);
    seats.enter(&bob);
    seats.sit(&bob, Place::new(0, 2), 0, (Epoch(8), versions(3, 1)));
    assert_eq!(both(&seats, Epoch(8), &ann), all, "the same numbers, of another epoch");
    assert_eq!(both(&seats, Epoch(8), &bob), Differs { rooms: false, account: false });
    seats.told_rooms(&ann, 0, NOW, 3);
    assert_eq!(both(&seats, Epoch(8), &ann), all, "told of the epoch before");
}
