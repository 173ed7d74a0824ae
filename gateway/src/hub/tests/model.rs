//! Tests the hub against a model of its environment: a log with memberships, Redis with tail and marks, PostgreSQL,
//! hints that are lost or reordered, reads that arrive late, epochs, joins, replays and refills. Some records are sent
//! in slices, between which all of this happens.
//!
//! No user is sent a record after their removal, or a record that their role may not see. Live delivery uses the role
//! at the record's position, replay the current role. A user who stays gets every visible record, once and in order.
//!
//! Long because all steps change one state.

mod world;

use proptest::prelude::*;
use tidings_shared::log::keys::PartitionSet;

use super::*;
use world::{Log, ROLES, USERS, World, role_at};

/// How far a device has come with its subscription.
enum Step {
    /// The device has subscribed with the membership that persistence returned, and then reads the head.
    Joining {
        membership: (u64, Option<&'static str>),
        read: Option<(Generation, TailRead)>,
    },
    Replaying {
        reached: Position,
        head: Position,
        generation: Generation,
        read: Option<(Generation, TailRead)>,
        roles: Option<StoredRoles>,
    },
    Live,
    Gone,
}

struct Device {
    user: usize,
    peer: Rc<Listener>,
    subscription: Subscription,
    step: Step,
    seen: usize,
    /// The position up to which the device was sent records, or a gap.
    position: usize,
    /// No removal of the user may lie between this position and a record that is sent live.
    no_removal_since: usize,
    /// The position as of which the device's role is valid.
    role_as_of: Position,
}

enum Refilling {
    No,
    Wanted(Option<StoredRoles>),
    Read { users: Vec<UserId>, tail: TailRead, generation: Generation, roles: Option<StoredRoles> },
}

struct Model {
    world: World,
    hub: Hub<Listener>,
    devices: Vec<Device>,
    refilling: Refilling,
    /// The record that is being sent in slices, and the index of the subscription with which its next slice begins.
    slicing: Option<(Record, usize)>,
}

impl Model {
    fn new() -> Self {
        let (world, hub, refilling) = (World::new(), Hub::default(), Refilling::No);
        Self { world, hub, devices: Vec::new(), refilling, slicing: None }
    }

    fn want_refill_if(&mut self, refill_wanted: bool) {
        if refill_wanted && matches!(self.refilling, Refilling::No) {
            self.refilling = Refilling::Wanted(None);
        }
    }

    fn miss_hints(&mut self) {
        self.world.hints.clear();
        self.hub.invalidate_reads();
        let refill_wanted = begin_refill(&mut self.hub);
        self.want_refill_if(refill_wanted);
    }

    fn dispatch(&mut self, record: &Record) {
        let refill_wanted = dispatch(&mut self.hub, record) == DispatchOutcome::Refill;
        self.want_refill_if(refill_wanted);
    }

    /// Sends the next slice of the record that is being sent in slices. Dispatches the record if no slice is left.
    fn send_slice(&mut self) {
        let Some((record, from_slot)) = self.slicing.take() else { return };
        match dispatch_slice(&mut self.hub, &record, from_slot) {
            Some(next_slot) => self.slicing = Some((record, next_slot)),
            None => self.dispatch(&record),
        }
    }

    fn finish_slices(&mut self) {
        if let Some((record, _)) = self.slicing.take() {
            self.dispatch(&record);
        }
    }

    fn step(&mut self, (op, a, b): (u8, u8, u8)) {
        let (a, b) = (a as usize, b as usize);
        let world = &mut self.world;
        match op % 40 {
            0..=5 => world.append(None, None),
            6..=7 => world.append(Some(ROLES[a % 3]), None),
            8..=9 => world.append(None, Some((a % 4, Some(ROLES[b % 3])))),
            10 => world.append(None, Some((a % 4, None))),
            11..=16 if self.slicing.is_some() && b % 4 > 0 => (1..=b % 4).for_each(|_| self.send_slice()),
            11..=16 if !world.hints.is_empty() => {
                // Hints arrive mostly in order.
                let index = if op % 40 == 11 { a % world.hints.len() } else { 0 };
                let (seq, event) = world.hints.remove(index);
                self.finish_slices();
                if b % 2 == 0 && event.role.is_none() && event.change.is_none() {
                    self.slicing = Some((event.record(seq), 0));
                    self.send_slice();
                } else {
                    self.dispatch(&event.record(seq));
                }
            }
            17 if !world.hints.is_empty() => drop(world.hints.remove(0)),
            32..=39 if !world.hints.is_empty() => {
                let records = world.take_run(2 + a % 4);
                self.finish_slices();
                if records.len() == 1 || !dispatch_run(&mut self.hub, &records) {
                    records.iter().for_each(|record| self.dispatch(record));
                }
            }
            18 if a % 4 == 0 => self.miss_hints(),
            19..=20 if self.devices.len() < 12 => self.subscribe(a % 4),
            21..=25 if !self.devices.is_empty() => self.progress(a % self.devices.len(), b),
            26..=28 => self.refill(),
            29 => world.stored += a % (world.head() - world.stored + 1),
            30 if a % 8 == 0 => world.new_epoch(b % 2 == 0),
            30 if a % 8 == 1 => world.tail_from = world.tail_from.max(b % (world.head() + 1)),
            30 if a % 8 == 2 => {
                // Two hours pass without pub/sub, so the marks of stored memberships have expired.
                self.finish_slices();
                let world = &mut self.world;
                let stored = world.stored;
                world.marks.retain(|_, (_, seq)| *seq > stored);
                // Joins, and stored roles that were read, do not last that long, so the model drops them.
                let joining = |device: &mut Device| matches!(device.step, Step::Joining { .. });
                for device in self.devices.extract_if(.., joining) {
                    carry_out(self.hub.unsubscribe(&room(), device.subscription));
                }
                for device in &mut self.devices {
                    if let Step::Replaying { roles, .. } = &mut device.step {
                        *roles = None;
                    }
                }
                if let Refilling::Wanted(roles) | Refilling::Read { roles, .. } = &mut self.refilling {
                    *roles = None;
                }
                self.hub.expire_marks_of(PartitionSet::ALL);
                self.miss_hints();
            }
            // A connection gets little or unlimited space.
            31 if !self.devices.is_empty() && b % 4 > 0 => {
                let space = if b % 4 == 1 { usize::MAX } else { b % 3 };
                self.devices[a % self.devices.len()].peer.space.set(space);
            }
            31 if !self.devices.is_empty() => {
                let device = a % self.devices.len();
                carry_out(self.hub.unsubscribe(&room(), self.devices[device].subscription));
                self.devices.remove(device);
            }
            _ => {}
        }
        self.check_frames();
    }

    fn subscribe(&mut self, user: usize) {
        let (peer, subscription) = subscribe_joining(&mut self.hub, USERS[user]);
        let membership = (self.world.epoch, role_at(self.world.log(), user, self.world.stored));
        let step = Step::Joining { membership, read: None };
        let role_as_of = Position::default();
        self.devices.push(Device {
            user,
            peer,
            subscription,
            step,
            seen: 0,
            position: 0,
            no_removal_since: 0,
            role_as_of,
        });
    }

    fn progress(&mut self, device: usize, choice: usize) {
        let (world, hub, device) = (&self.world, &mut self.hub, &mut self.devices[device]);
        let users = [user(USERS[device.user])];
        let mut begun = false;
        match &mut device.step {
            Step::Joining { membership, read } => match read.take() {
                None => *read = Some((hub.generation(), world.read(&users))),
                Some((generation, tail)) => {
                    let head = Position::of_head(&tail.head);
                    let role = match &tail.marks[0] {
                        Some(mark) => mark.role.clone(),
                        None if membership.0 == head.epoch.0 => membership.1.map(ToOwned::to_owned),
                        None => {
                            *membership = (world.epoch, role_at(world.log(), device.user, world.stored));
                            return;
                        }
                    };
                    let Some(role) = role else {
                        carry_out(hub.unsubscribe(&room(), device.subscription));
                        device.step = Step::Gone;
                        return;
                    };
                    let is_set =
                        hub.set_initial_role(&room(), device.subscription, &role, (head, generation));
                    assert!(is_set, "hints must not end a join");
                    let cursor = choice as u64 % (head.seq.0 + 1);
                    (device.position, device.role_as_of) = (cursor as usize, head);
                    let reached = Position { seq: Seq(cursor), ..head };
                    device.step = Step::Replaying { reached, head, generation, read: None, roles: None };
                }
            },
            Step::Replaying { reached, head, generation, read, roles } => {
                if !hub.room(&room()).has_subscription(device.subscription) {
                    device.step = Step::Gone;
                    return;
                }
                let live =
                    *reached >= *head && hub.go_live(&room(), device.subscription, *reached, *generation);
                if live {
                    (device.position, device.no_removal_since) =
                        (reached.seq.0 as usize, reached.seq.0 as usize);
                    device.step = Step::Live;
                    return;
                }
                let Some((began, tail)) = read.take() else {
                    begun = hub.room(&room()).newest_position().epoch < reached.epoch && begin_refill(hub);
                    *read = Some((hub.generation(), world.read(&users)));
                    self.want_refill_if(begun);
                    return;
                };
                let now = Position::of_head(&tail.head);
                if now.epoch < hub.room(&room()).newest_position().epoch.max(reached.epoch) {
                    return;
                }
                let mark_read = MarkRead { head: now, mark: tail.marks[0].as_ref(), generation: began };
                let (refresh, effects) =
                    hub.refresh_role(&room(), device.subscription, mark_read, roles.as_ref());
                carry_out(effects);
                match refresh {
                    RoleRefresh::Ended => device.step = Step::Gone,
                    RoleRefresh::RoleUnknown => *roles = Some(world.roles(&users)),
                    RoleRefresh::UpToDate => {
                        *roles = None;
                        device.role_as_of = device.role_as_of.max(now);
                        let diverged = tail.head.gap_after_position(reached.epoch, reached.seq).is_some();
                        // A replay reads the tail in parts.
                        let part = (!diverged).then(|| tail.next_records(reached.seq)).flatten();
                        let part = part.map(|records| &records[..records.len().min(1 + choice)]);
                        for record in part.unwrap_or_default() {
                            let before = device.peer.got.borrow().len();
                            assert!(hub.room(&room()).replay_record(device.subscription, record));
                            let event = world.logs[&now.epoch.0][record.seq.0 as usize - 1];
                            let sent = device.peer.got.borrow().len() - before;
                            assert!(sent == 1 || event.role.is_some(), "{record:?} was not replayed");
                            assert!(sent == 0 || world.may_be_shown(event, device.user, device.role_as_of));
                            device.seen += sent;
                        }
                        let sent = |part: &[Record]| part.last().map_or(reached.seq, |last| last.seq);
                        *reached = part.map_or(now, |part| Position { seq: sent(part), ..now });
                        (*head, *generation) = (now, began);
                    }
                }
            }
            Step::Live | Step::Gone => {}
        }
        self.want_refill_if(begun);
    }

    fn refill(&mut self) {
        self.refilling = match std::mem::replace(&mut self.refilling, Refilling::No) {
            Refilling::No => Refilling::No,
            Refilling::Wanted(roles) => {
                let (users, generation) =
                    (self.hub.room(&room()).users_with_known_role(), self.hub.generation());
                Refilling::Read { tail: self.world.read(&users), users, generation, roles }
            }
            Refilling::Read { users, tail, generation, roles } => {
                let read = RoomRead { tail: &tail, users: &users, roles: roles.as_ref() };
                match refill_from(&mut self.hub, read, generation) {
                    RefillOutcome::FromTail | RefillOutcome::Gap => Refilling::No,
                    RefillOutcome::Retry => Refilling::Wanted(None),
                    RefillOutcome::RolesUnknown => {
                        // Roles are valid for the epoch of the read. For another epoch the hub must ask for them again.
                        Refilling::Wanted(Some(self.world.roles(&users)))
                    }
                }
            }
        };
    }

    /// Compares the frames that were sent live with the log. Starts the replays of lagging subscriptions.
    fn check_frames(&mut self) {
        let generation = self.hub.generation();
        for device in &mut self.devices {
            if !self.hub.room(&room()).has_subscription(device.subscription) {
                device.step = Step::Gone;
            }
            let frames = device.peer.got.borrow();
            for frame in &frames[device.seen..] {
                let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
                let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
                match frame["type"].as_str() {
                    Some("room:caught_up") => {}
                    Some("room:gap") => {
                        device.position = number(&frame["head"]["seq"]);
                        device.no_removal_since = device.position;
                    }
                    _ => {
                        let (epoch, seq) = (number(&frame["e"]) as u64, number(&frame["s"]));
                        // Up to the base of an epoch, its records are the same as those of earlier epochs.
                        check_live(&self.world.logs[&epoch], device, seq);
                        device.position = seq;
                    }
                }
            }
            device.seen = frames.len();
            if let Some(reached) = device.peer.lagging.take() {
                assert!(matches!(device.step, Step::Live) && reached.seq.0 as usize >= device.position);
                (device.position, device.role_as_of) = (reached.seq.0 as usize, reached);
                let (head, read, roles) = (reached, None, None);
                device.step = Step::Replaying { reached, head, generation, read, roles };
            }
        }
    }

    /// Stops all changes and completes everything that is in progress.
    fn finish(&mut self) {
        self.world.stored = self.world.head();
        self.miss_hints();
        self.finish_slices();
        self.devices.iter().for_each(|device| device.peer.space.set(usize::MAX));
        self.check_frames();
        for _ in 0..12 {
            for device in 0..self.devices.len() {
                self.progress(device, 255);
                self.check_frames();
            }
            self.refill();
            self.check_frames();
        }
        let (log, head) = (self.world.log(), self.world.head());
        for device in &self.devices {
            let role = role_at(log, device.user, head);
            let removed =
                self.world.logs.values().flatten().any(|event| {
                    event.change.is_some_and(|(user, role)| user == device.user && role.is_none())
                });
            match device.step {
                Step::Live => {
                    let current = self.hub.room(&room()).role(device.subscription, Epoch(self.world.epoch));
                    assert_eq!(current.as_deref(), role, "{}", USERS[device.user]);
                    check_live(log, device, head + 1);
                }
                Step::Gone => assert!(removed, "{} was never removed", USERS[device.user]),
                _ => panic!("{} neither went live nor ended", USERS[device.user]),
            }
        }
    }
}

/// Checks that a live device may be sent `seq` next. With a `seq` above the head, checks that nothing is missing.
fn check_live(log: &Log, device: &Device, seq: usize) {
    let whose = USERS[device.user];
    assert!(seq > device.position, "{whose} was sent {seq} after {}", device.position);
    for skipped in device.position + 1..seq {
        let role = role_at(log, device.user, skipped - 1);
        assert!(!log[skipped - 1].is_for(role), "{whose} was not sent {skipped}");
    }
    if let Some(event) = log.get(seq - 1) {
        assert!(event.is_for(role_at(log, device.user, seq - 1)), "{whose} was sent {seq}: {event:?}");
        let removal =
            (device.no_removal_since + 1..seq).find(|at| log[at - 1].change == Some((device.user, None)));
        assert!(removal.is_none(), "{whose} was sent {seq} after the removal at {removal:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn lost_or_late_hints_neither_leak_nor_lose_records(
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..250),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.finish();
    }
}
