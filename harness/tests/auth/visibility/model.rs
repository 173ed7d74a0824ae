//! What a plain model says: the log of a room, who was what in it and when, and so who may see what.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct Event {
    pub kind: &'static str,
    pub by: String,
    /// Of a message, and of what is aimed at it: its sender, users and roles. `None`: everyone.
    pub private: Option<(String, BTreeSet<String>, BTreeSet<String>)>,
    /// The message that a change is aimed at.
    pub target: Option<u64>,
    /// The text of a message or edit.
    pub text: String,
}

/// One room.
#[derive(Debug, Default)]
pub struct Room {
    /// Seq 1 on.
    pub log: Vec<Event>,
    /// By user: from which seq on they were what; `None`: not a member.
    roles: BTreeMap<String, Vec<(u64, Option<String>)>>,
    pub read: BTreeMap<String, u64>,
}

impl Room {
    pub fn created(members: &[(&str, &str)]) -> Self {
        let mut room = Self::default();
        for (user, role) in members {
            room.set_role(user, 0, Some(role));
        }
        room
    }

    pub fn head(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn push(&mut self, seq: u64, event: Event) {
        assert_eq!(seq, self.head() + 1, "the log has a hole, or an event that nobody made");
        self.log.push(event);
    }

    pub fn set_role(&mut self, user: &str, seq: u64, role: Option<&str>) {
        self.roles.entry(user.to_owned()).or_default().push((seq, role.map(ToOwned::to_owned)));
        if role.is_none() {
            self.read.remove(user);
        }
    }

    /// The role with which the event at `seq` is met: a change counts from the next one on.
    pub fn role_at(&self, user: &str, seq: u64) -> Option<&str> {
        let roles = self.roles.get(user)?;
        roles.iter().rev().find(|(since, _)| *since < seq).and_then(|(_, role)| role.as_deref())
    }

    pub fn role(&self, user: &str) -> Option<&str> {
        self.role_at(user, u64::MAX)
    }

    pub fn may_see(&self, user: &str, role: &str, seq: u64) -> bool {
        self.log[seq as usize - 1].private.as_ref().is_none_or(|(sender, users, roles)| {
            sender == user || users.contains(user) || roles.contains(role)
        })
    }

    /// What somebody who is a member now may read.
    pub fn visible(&self, user: &str) -> Vec<u64> {
        let Some(role) = self.role(user) else { return Vec::new() };
        (1..=self.head()).filter(|seq| self.may_see(user, role, *seq)).collect()
    }

    /// What somebody who is joined from after `from` on is sent live, by their role at each place.
    pub fn live(&self, user: &str, from: u64, upto: u64) -> Vec<u64> {
        let sees = |seq: &u64| self.role_at(user, *seq).is_some_and(|role| self.may_see(user, role, *seq));
        (from + 1..=upto).filter(sees).collect()
    }

    pub fn is_message(&self, seq: u64) -> bool {
        self.log[seq as usize - 1].kind == "message:new"
    }

    pub fn is_deleted(&self, seq: u64) -> bool {
        self.log.iter().any(|event| event.kind == "message:deleted" && event.target == Some(seq))
    }

    /// The place of the last delete; 0: there was none.
    pub fn last_deleted(&self) -> u64 {
        (1..)
            .zip(&self.log)
            .filter(|(_, event)| event.kind == "message:deleted")
            .map(|(seq, _)| seq)
            .last()
            .unwrap_or(0)
    }

    /// Messages that somebody may read, deleted ones included.
    pub fn messages(&self, user: &str) -> Vec<u64> {
        self.visible(user).into_iter().filter(|seq| self.is_message(*seq)).collect()
    }

    pub fn unread(&self, user: &str) -> u64 {
        let read = self.read.get(user).copied().unwrap_or(0);
        let counts =
            |seq: &u64| *seq > read && self.log[*seq as usize - 1].by != user && !self.is_deleted(*seq);
        self.messages(user).into_iter().filter(counts).count() as u64
    }

    /// Texts that somebody may not read now: none of them may be in anything that they are given.
    pub fn hidden_texts(&self, user: &str) -> Vec<&str> {
        let visible: BTreeSet<u64> = self.visible(user).into_iter().collect();
        let hidden =
            (1..).zip(&self.log).filter(|(seq, event)| !visible.contains(seq) && !event.text.is_empty());
        hidden.map(|(_, event)| event.text.as_str()).collect()
    }
}
