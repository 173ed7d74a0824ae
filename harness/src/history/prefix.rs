//! The rule `Prefix`: PostgreSQL is read at several moments of a run. Each event is read once, so the cost does not
//! grow with the length of the logs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Rule, Violation};
use crate::postgres::Database;

/// What PostgreSQL holds of a room at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSnapshot {
    /// The room.
    pub room: String,
    /// The head of the room, from the table `rooms`.
    pub head: u64,
    /// The seqs of the stored events above the head of the previous snapshot, in order.
    pub seqs: Vec<u64>,
}

/// Checks snapshots of rooms, in order of time.
#[derive(Debug, Default)]
pub struct PrefixCheck {
    /// The head of each room in its last snapshot. A room that broke the rule is not checked any more.
    heads: BTreeMap<String, u64>,
    violations: Vec<Violation>,
}

impl PrefixCheck {
    /// A check of these rooms from their first event on.
    pub fn new(rooms: &[String]) -> PrefixCheck {
        let heads = rooms.iter().map(|room| (room.clone(), 0)).collect();
        PrefixCheck { heads, violations: Vec::new() }
    }

    /// Reads snapshots of all rooms with one statement, and checks them. `at` is the time since the run began.
    ///
    /// # Errors
    /// When PostgreSQL does not answer. Nothing is checked then.
    pub async fn look(&mut self, database: &Database, at: Duration) -> Result<()> {
        for snapshot in read_snapshots(database, &self.heads).await? {
            self.check(at, &snapshot);
        }
        Ok(())
    }

    pub(super) fn check(&mut self, at: Duration, snapshot: &RoomSnapshot) {
        let RoomSnapshot { room, head, .. } = snapshot;
        let Some(last_head) = self.heads.get_mut(room) else { return };
        let found = find_violation(*last_head, snapshot);
        *last_head = *head;
        if let Some((seq, what)) = found {
            self.heads.remove(room);
            let what = format!("at {:.3} s, while the run lasted: {what}", at.as_secs_f64());
            let (rule, room, user) = (Rule::Prefix, room.clone(), String::new());
            self.violations.push(Violation { rule, room, seq, user, what });
        }
    }

    /// The violations that were found, at most one of each room.
    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

/// The first seq that breaks the rule, with a description.
fn find_violation(last_head: u64, snapshot: &RoomSnapshot) -> Option<(u64, String)> {
    let head = snapshot.head;
    if head < last_head {
        return Some((head, format!("the head went back from {last_head} to {head}")));
    }
    let mut seqs = snapshot.seqs.iter().copied();
    for expected in last_head + 1..=head {
        match seqs.next() {
            Some(seq) if seq == expected => {}
            Some(seq) if seq < expected => return Some((seq, format!("two events are stored at {seq}"))),
            _ => return Some((expected, format!("nothing is stored at {expected}, and the head is {head}"))),
        }
    }
    seqs.next().map(|seq| (seq, format!("another event is stored at {seq}, and the head is {head}")))
}

/// Reads the head of each room, and the seqs above this seq. One statement has one snapshot of PostgreSQL.
async fn read_snapshots(database: &Database, heads: &BTreeMap<String, u64>) -> Result<Vec<RoomSnapshot>> {
    if heads.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<String> = heads.iter().map(|(room, head)| format!("('{room}', {head}::bigint)")).collect();
    let sql = format!(
        "SELECT v.room, r.head_seq, (SELECT string_agg(s.seq::text, ',' ORDER BY s.seq) FROM ( \
             SELECT m.seq FROM messages m WHERE m.room_id = v.room AND m.seq > v.after \
             UNION ALL SELECT e.seq FROM events e WHERE e.room_id = v.room AND e.seq > v.after) s) \
           FROM (VALUES {}) AS v (room, after) JOIN rooms r ON r.id = v.room",
        rooms.join(", ")
    );
    let snapshot = |row: Vec<String>| {
        let [room, head, seqs] = row.as_slice() else { anyhow::bail!("a row of another form: {row:?}") };
        let seqs = seqs.split(',').filter(|seq| !seq.is_empty()).map(str::parse::<u64>);
        Ok(RoomSnapshot {
            room: room.clone(),
            head: head.parse::<u64>().context("a head")?,
            seqs: seqs.collect::<Result<Vec<u64>, _>>().context("a seq")?,
        })
    };
    database.query(&sql).await?.into_iter().map(snapshot).collect()
}
