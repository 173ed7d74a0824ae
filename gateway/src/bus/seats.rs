//! Which users are connected to this node: where their connections are, oldest first, and what they were told last.
//! Pure. Shared by all workers, under a lock that nothing takes but coming, going and notices.

use std::mem;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, UserId},
    membership::Versions,
};

/// A connection of this node: its worker and its id there. In one word, since there is one of these for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    const WORKER_SHIFT: u32 = 58;
    /// A poll is told what is told to connections, and is not counted among them.
    const POLL: u64 = 1 << 57;
    /// Ids of polls have their highest bit set.
    const POLL_ID: u64 = 1 << 63;

    #[must_use]
    pub fn new(worker: usize, id: u64) -> Self {
        let poll = if id & Self::POLL_ID == 0 { 0 } else { Self::POLL };
        Self((worker as u64) << Self::WORKER_SHIFT | poll | (id & (Self::POLL - 1)))
    }

    pub(super) fn worker(self) -> usize {
        // Six bits: there are at most 64 workers.
        (self.0 >> Self::WORKER_SHIFT) as usize
    }

    fn is_poll(self) -> bool {
        self.0 & Self::POLL != 0
    }
}

/// One place needs no list.
#[derive(Debug, Default)]
#[allow(
    clippy::box_collection,
    reason = "one pointer, since most users have one place, and there are many users"
)]
enum Places {
    #[default]
    None,
    One(Place),
    Many(Box<Vec<Place>>),
}

impl Places {
    fn each(&self) -> &[Place] {
        match self {
            Self::None => &[],
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }

    fn add(&mut self, place: Place) {
        match self {
            Self::None => *self = Self::One(place),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, place])),
            Self::Many(places) => places.push(place),
        }
    }

    fn remove(&mut self, place: Place) {
        match self {
            Self::None => {}
            Self::One(only) => {
                if *only == place {
                    *self = Self::None;
                }
            }
            Self::Many(places) => {
                places.retain(|held| *held != place);
                match places.as_slice() {
                    [] => *self = Self::None,
                    [only] => *self = Self::One(*only),
                    _ => {}
                }
            }
        }
    }
}

/// A version that no user has: something may have been missed, or not been told.
const UNSURE: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Seat {
    places: Places,
    /// Low halves of the versions of which all places know, in [`Seats::epoch`].
    rooms: u32,
    account: u32,
    /// Connections on their way in.
    entering: u16,
    /// Counts notices, for those on their way in: they are not reached yet.
    news: u16,
    /// The server has confirmed the channel.
    confirmed: bool,
    /// Tells it from an earlier one of the same user.
    born: u16,
}

impl Seat {
    fn is_empty(&self) -> bool {
        self.entering == 0 && matches!(self.places, Places::None)
    }

    fn versions(&mut self, epoch: Epoch, of: Epoch, versions: Versions) {
        let same_epoch = epoch == of;
        let known = |held: u32, version: u64| {
            if same_epoch && held == low(version) { held } else { UNSURE }
        };
        self.rooms = known(self.rooms, versions.rooms);
        self.account = known(self.account, versions.account);
    }
}

/// The low half: two versions that are not told apart by it lie four billion changes apart.
fn low(version: u64) -> u32 {
    (version & u64::from(u32::MAX)) as u32
}

/// What became of a connection that took its place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seated {
    /// The user's oldest, which is one too many.
    pub surplus: Option<Place>,
    /// A notice came while it was on its way in: its user is to be looked at again.
    pub missed: bool,
}

/// What differs from what a user's connections know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Differs {
    pub rooms: bool,
    pub account: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Seats {
    users: FxHashMap<UserId, Seat>,
    /// The epoch of the versions.
    epoch: Epoch,
    /// Connections of one user; the oldest must go when there are more.
    per_user: usize,
    born: u16,
}

impl Seats {
    pub fn new(per_user: usize) -> Self {
        Self { users: FxHashMap::default(), epoch: Epoch::default(), per_user, born: 0 }
    }

    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_confirmed(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|seat| seat.confirmed)
    }

    /// The channel that was asked for by who entered so is confirmed.
    pub fn confirm(&mut self, user: &UserId, born: u16) {
        if let Some(seat) = self.users.get_mut(user) {
            seat.confirmed |= seat.born == born;
        }
    }

    /// A connection is on its way in; the channel is wanted from now on. To be given with its confirmation.
    pub fn enter(&mut self, user: &UserId) -> u16 {
        let born = self.born.wrapping_add(1);
        let seat = self.users.entry(user.clone()).or_insert_with(|| Seat { born, ..Seat::default() });
        seat.entering = seat.entering.saturating_add(1);
        if seat.born == born {
            self.born = born;
        }
        seat.born
    }

    /// How many notices came so far.
    pub fn news(&self, user: &UserId) -> u16 {
        self.users.get(user).map_or(0, |seat| seat.news)
    }

    /// As [`Seats::news`], for a look at the user: whoever is on their way in is not told by it, so they look again.
    pub fn looked_at(&mut self, user: &UserId) -> u16 {
        self.users.get_mut(user).map_or(0, |seat| {
            if seat.entering > 0 {
                seat.news = seat.news.wrapping_add(1);
            }
            seat.news
        })
    }

    /// A connection that was on its way in did not come. True: nobody wants the channel any more.
    pub fn turn_back(&mut self, user: &UserId) -> bool {
        let Some(seat) = self.users.get_mut(user) else { return false };
        seat.entering = seat.entering.saturating_sub(1);
        self.forget_empty(user)
    }

    /// A connection takes its place, knowing these versions, read in this epoch when `news` notices had come.
    pub fn sit(
        &mut self,
        user: &UserId,
        place: Place,
        news: u16,
        (epoch, versions): (Epoch, Versions),
    ) -> Seated {
        if epoch > self.epoch {
            // What others know is of an epoch that is over.
            self.epoch = epoch;
            self.users.values_mut().for_each(|seat| (seat.rooms, seat.account) = (UNSURE, UNSURE));
        }
        let Some(seat) = self.users.get_mut(user) else { return Seated::default() };
        seat.entering = seat.entering.saturating_sub(1);
        if matches!(seat.places, Places::None) && epoch == self.epoch {
            (seat.rooms, seat.account) = (low(versions.rooms), low(versions.account));
        } else {
            // The others may know less than this one.
            seat.versions(self.epoch, epoch, versions);
        }
        seat.places.add(place);
        let counted = || seat.places.each().iter().filter(|place| !place.is_poll());
        let surplus = if counted().count() > self.per_user { counted().next().copied() } else { None };
        if let Some(surplus) = surplus {
            seat.places.remove(surplus);
        }
        Seated { surplus, missed: seat.news != news }
    }

    /// A surplus connection could not be told so: it stays the oldest until the next one comes.
    pub fn keep(&mut self, user: &UserId, surplus: Place) {
        if let Some(seat) = self.users.get_mut(user) {
            let later = mem::take(&mut seat.places);
            seat.places = Places::One(surplus);
            later.each().iter().for_each(|place| seat.places.add(*place));
        }
    }

    /// A place is free again. True: nobody wants the channel any more.
    pub fn rise(&mut self, user: &UserId, place: Place) -> bool {
        let Some(seat) = self.users.get_mut(user) else { return false };
        seat.places.remove(place);
        self.forget_empty(user)
    }

    fn forget_empty(&mut self, user: &UserId) -> bool {
        let empty = self.users.get(user).is_some_and(Seat::is_empty);
        empty && self.users.remove(user).is_some()
    }

    /// A notice came that whoever is on their way in must not miss: the user, when anybody is here.
    pub fn hear(&mut self, user: &str) -> Option<UserId> {
        let seat = self.users.get_mut(user)?;
        seat.news = seat.news.wrapping_add(1);
        self.known(user)
    }

    /// The user of this name, when anybody is here.
    pub fn known(&self, user: &str) -> Option<UserId> {
        self.users.get_key_value(user).map(|(user, _)| user.clone())
    }

    /// A bit for each worker with a place of the user.
    pub fn workers(&self, user: &UserId) -> u64 {
        self.users.get(user).map_or(0, workers)
    }

    /// The list of rooms is another than the one that the version stood for, or something was not told.
    pub fn unsure_of_rooms(&mut self, user: &UserId) {
        if let Some(seat) = self.users.get_mut(user) {
            seat.rooms = UNSURE;
        }
    }

    pub fn unsure_of_account(&mut self, user: &UserId) {
        if let Some(seat) = self.users.get_mut(user) {
            seat.account = UNSURE;
        }
    }

    /// Compares versions read just now with what the user's connections know.
    pub fn differs(&self, user: &UserId, epoch: Epoch, versions: Versions) -> Differs {
        match self.users.get(user) {
            Some(seat) => Differs {
                rooms: epoch != self.epoch || seat.rooms != low(versions.rooms),
                account: epoch != self.epoch || seat.account != low(versions.account),
            },
            None => Differs { rooms: false, account: false },
        }
    }

    /// All of the user's connections know this version of the rooms now, if nothing was heard since.
    pub fn told_rooms(&mut self, user: &UserId, news: u16, epoch: Epoch, version: u64) {
        if let Some(seat) = self.current(user, news, epoch) {
            seat.rooms = low(version);
        }
    }

    /// As [`Seats::told_rooms`], of the account.
    pub fn told_account(&mut self, user: &UserId, news: u16, epoch: Epoch, version: u64) {
        if let Some(seat) = self.current(user, news, epoch) {
            seat.account = low(version);
        }
    }

    fn current(&mut self, user: &UserId, news: u16, epoch: Epoch) -> Option<&mut Seat> {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.users.values_mut().for_each(|seat| (seat.rooms, seat.account) = (UNSURE, UNSURE));
        }
        let same_epoch = epoch == self.epoch;
        self.users.get_mut(user).filter(|seat| same_epoch && seat.news == news)
    }
}

fn workers(seat: &Seat) -> u64 {
    seat.places.each().iter().fold(0, |workers, place| workers | 1 << place.worker())
}

#[cfg(test)]
mod tests;
