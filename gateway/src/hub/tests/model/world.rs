//! Redis and PostgreSQL in the model of the hub.

use std::collections::BTreeMap;

use super::super::*;

pub const USERS: [&str; 4] = ["ada", "ben", "cleo", "dan"];
pub const ROLES: [&str; 3] = ["guest", "member", "admin"];

/// An event with its audience (all members, or one role), and its membership change, if it has one.
#[derive(Debug, Clone, Copy)]
pub struct ModelEvent {
    pub epoch: u64,
    pub role: Option<&'static str>,
    pub change: Option<(usize, Option<&'static str>)>,
}

impl ModelEvent {
    pub fn record(self, seq: u64) -> Record {
        let visibility = self.role.map_or(String::new(), |role| format!("r={role}"));
        let membership = self.change.map_or(String::new(), |(user, role)| {
            format!("{}\x1e{}", USERS[user], role.unwrap_or("removed"))
        });
        membership_change(self.epoch, seq, &visibility, &membership)
    }

    pub fn is_for(self, role: Option<&str>) -> bool {
        role.is_some_and(|role| self.role.is_none_or(|wanted| wanted == role))
    }
}

pub type Log = Vec<ModelEvent>;

/// A user's role after the first `upto` events of a log. All users start as members.
pub fn role_at(log: &Log, user: usize, upto: usize) -> Option<&'static str> {
    let mut changes = log[..upto].iter().filter_map(|event| event.change.filter(|(whose, _)| *whose == user));
    changes.next_back().map_or(Some("member"), |(_, role)| role)
}

pub struct World {
    pub epoch: u64,
    pub bases: Vec<(u64, usize)>,
    /// The whole log of each epoch.
    pub logs: BTreeMap<u64, Log>,
    /// The tail holds the records above this index.
    pub tail_from: usize,
    /// PostgreSQL holds this number of events.
    pub stored: usize,
    pub marks: BTreeMap<usize, (Option<&'static str>, usize)>,
    pub hints: Vec<(u64, ModelEvent)>,
}

impl World {
    pub fn new() -> Self {
        Self {
            epoch: 1,
            bases: vec![(1, 0)],
            logs: BTreeMap::from([(1, Log::new())]),
            tail_from: 0,
            stored: 0,
            marks: BTreeMap::new(),
            hints: Vec::new(),
        }
    }

    pub fn log(&self) -> &Log {
        &self.logs[&self.epoch]
    }

    pub fn head(&self) -> usize {
        self.log().len()
    }

    pub fn append(&mut self, role: Option<&'static str>, change: Option<(usize, Option<&'static str>)>) {
        let event = ModelEvent { epoch: self.epoch, role, change };
        self.logs.get_mut(&self.epoch).unwrap().push(event);
        let head = self.head();
        if let Some((user, role)) = change {
            self.marks.insert(user, (role, head));
        }
        self.hints.push((head as u64, event));
    }

    /// Removes the first hints that are a run: at least one, and at most `max`.
    pub fn take_run(&mut self, max: usize) -> Vec<Record> {
        let (first, of) = self.hints[0];
        let is_next = |(index, (seq, event)): &(u64, &(u64, ModelEvent))| {
            (*seq, event.epoch) == (first + index, of.epoch) && event.role.is_none() && event.change.is_none()
        };
        let run = (0..).zip(&self.hints).take(max).take_while(is_next).count().max(1);
        self.hints.drain(..run).map(|(seq, event)| event.record(seq)).collect()
    }

    /// Starts a new epoch of Redis. With `survives`, Redis keeps its data. Otherwise Redis has only the stored events.
    pub fn new_epoch(&mut self, survives: bool) {
        let mut log = self.log().clone();
        if !survives {
            log.truncate(self.stored);
            self.marks.clear();
            self.tail_from = self.stored;
        }
        self.epoch += 1;
        self.bases.push((self.epoch, log.len()));
        self.logs.insert(self.epoch, log);
    }

    pub fn read(&self, users: &[UserId]) -> TailRead {
        let bases: Vec<String> = self.bases.iter().map(|(epoch, base)| format!("{epoch}:{base}")).collect();
        let head = self.head() as u64;
        let records = (self.tail_from..self.head()).map(|at| self.log()[at].record(at as u64 + 1)).collect();
        let mark = |user: &UserId| {
            let (role, seq) = self.marks.get(&USERS.iter().position(|name| *name == user.as_str())?)?;
            Some(MembershipMark { role: role.map(ToOwned::to_owned), seq: Seq(*seq as u64) })
        };
        let marks = users.iter().map(mark).collect();
        TailRead { records, marks, ..tail_read(self.epoch, head..=head, &bases.join(",")) }
    }

    /// The roles that persistence returns now: those after the stored events.
    pub fn roles(&self, users: &[UserId]) -> StoredRoles {
        let role = |user: &UserId| {
            let user = USERS.iter().position(|name| *name == user.as_str()).unwrap();
            role_at(self.log(), user, self.stored).map(Into::into)
        };
        StoredRoles {
            epoch: Epoch(self.epoch),
            by_user: users.iter().map(|user| (user.clone(), role(user))).collect(),
        }
    }

    /// Whether the user has, at some position from `since` on, a role that may see the event.
    pub fn may_be_shown(&self, event: ModelEvent, user: usize, since: Position) -> bool {
        self.logs.range(since.epoch.0..).any(|(epoch, log)| {
            let base = self.bases.iter().find(|(of, _)| of == epoch).map_or(0, |(_, base)| *base);
            let from = if *epoch == since.epoch.0 { since.seq.0 as usize } else { base };
            (from..=log.len()).any(|upto| event.is_for(role_at(log, user, upto)))
        })
    }
}
