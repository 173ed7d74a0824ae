//! A simple model of a room: its log, the roles of its users over time, and therefore who may see which event.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct ModelEvent {
    pub kind: &'static str,
    pub by: String,
    /// Who may see a message and its changes: the sender, users and roles. `None`: everyone may.
    pub private: Option<(String, BTreeSet<String>, BTreeSet<String>)>,
    /// The message that a change concerns.
    pub target: Option<u64>,
    /// The text of a message or edit.
    pub text: String,
}

/// The expected state of one room.
#[derive(Debug, Default)]
pub struct RoomModel {
    /// Events from seq 1 on.
    pub log: Vec<ModelEvent>,
    /// By user: each role with the seq after which it applies. The role is `None` while the user is not a member.
    roles: BTreeMap<String, Vec<(u64, Option<String>)>>,
    pub read: BTreeMap<String, u64>,
}

impl RoomModel {
    pub fn with_members(members: &[(&str, &str)]) -> Self {
        let mut room = Self::default();
        for (user, role) in members {
            room.set_role(user, 0, Some(role));
        }
        room
    }

    pub fn head(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn push(&mut self, seq: u64, event: ModelEvent) {
        assert_eq!(seq, self.head() + 1, "the log has a hole or an unexpected event");
        self.log.push(event);
    }

    pub fn set_role(&mut self, user: &str, seq: u64, role: Option<&str>) {
        if role.is_none() {
            self.read.remove(user);
        } else if self.role(user).is_none() {
            // The first read mark of a membership is its join.
            self.read.insert(user.to_owned(), seq);
        }
        self.roles.entry(user.to_owned()).or_default().push((seq, role.map(ToOwned::to_owned)));
    }

    /// The user's role at the event `seq`. A role change applies from the next event on.
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

    /// The events that a current member may read.
    pub fn visible_seqs(&self, user: &str) -> Vec<u64> {
        let Some(role) = self.role(user) else { return Vec::new() };
        (1..=self.head()).filter(|seq| self.may_see(user, role, *seq)).collect()
    }

    /// The events that a user who joined after `from` receives live. The user's role at each event decides.
    pub fn live_seqs(&self, user: &str, from: u64, upto: u64) -> Vec<u64> {
        let sees = |seq: &u64| self.role_at(user, *seq).is_some_and(|role| self.may_see(user, role, *seq));
        (from + 1..=upto).filter(sees).collect()
    }

    pub fn is_message(&self, seq: u64) -> bool {
        self.log[seq as usize - 1].kind == "message:new"
    }

    pub fn is_deleted(&self, seq: u64) -> bool {
        self.log.iter().any(|event| event.kind == "message:deleted" && event.target == Some(seq))
    }

    /// The seq of the last delete; 0 if there was none.
    pub fn last_delete(&self) -> u64 {
        (1..)
            .zip(&self.log)
            .filter(|(_, event)| event.kind == "message:deleted")
            .map(|(seq, _)| seq)
            .last()
            .unwrap_or(0)
    }

    /// The messages that a user may read, including deleted ones.
    pub fn visible_messages(&self, user: &str) -> Vec<u64> {
        self.visible_seqs(user).into_iter().filter(|seq| self.is_message(*seq)).collect()
    }

    pub fn unread_count(&self, user: &str) -> u64 {
        let read = self.read.get(user).copied().unwrap_or(0);
        let counts =
            |seq: &u64| *seq > read && self.log[*seq as usize - 1].by != user && !self.is_deleted(*seq);
        self.visible_messages(user).into_iter().filter(counts).count() as u64
    }

    /// Texts that a user may not read now. No answer to this user may contain them.
    pub fn hidden_texts(&self, user: &str) -> Vec<&str> {
        let visible: BTreeSet<u64> = self.visible_seqs(user).into_iter().collect();
        let hidden =
            (1..).zip(&self.log).filter(|(seq, event)| !visible.contains(seq) && !event.text.is_empty());
        hidden.map(|(_, event)| event.text.as_str()).collect()
    }
}
