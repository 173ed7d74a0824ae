//! Reads pages of history. A read skips messages that are private to others, in steps of at most [`STEP_SEQS`] seqs,
//! because long statements would delay other requests. The cost of a page does not depend on its position in the log;
//! only skipped messages add to the cost.

use std::ops::RangeInclusive;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use tidings_shared::error::Refusal;
use tidings_shared::ids::RoomId;
use tidings_shared::limits::MAX_PAGE_BYTES;
use tidings_shared::request_slots::RequestSlots;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::super::access::Viewer;
use super::super::json::{Head, RawJson};
use super::super::page_budget::{PageBudget, ends_page};
use super::super::sql::{
    budget_begin, budget_end, epoch_of, me, message_bytes, message_columns, reactions, visible,
};
use super::Message;
use crate::request_error::RequestError;
use crate::schemas::EventForm;
use crate::sql::statement;

/// Number of seqs that one step spans.
const STEP_SEQS: i64 = 10_000;
/// Number of steps after which a page needs one of the `slots`. Pages of public messages need one step.
const MAX_STEPS_WITHOUT_SLOT: u32 = 4;
/// How long a request waits for such a slot.
const SLOT_TIMEOUT: Duration = Duration::from_secs(3);
/// Soft deadline: after this time a page from which the client can continue is returned, even if it is not full.
const PAGE_SOFT_DEADLINE: Duration = Duration::from_secs(1);
/// Hard deadline: after this time a request is refused if the client could not continue from the page.
const PAGE_HARD_DEADLINE: Duration = Duration::from_secs(8);

/// The messages that a page holds: up to `older` messages at or below the seq `pivot` and up to `newer` above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub pivot: i64,
    pub older: i64,
    pub newer: i64,
}

impl Window {
    /// The newest messages of the room.
    #[must_use]
    pub fn last(limit: i64) -> Self {
        Self { pivot: i64::MAX, older: limit, newer: 0 }
    }

    /// The messages just below `seq`, without the one at `seq`.
    #[must_use]
    pub fn before(seq: i64, limit: i64) -> Self {
        Self { pivot: seq.saturating_sub(1), older: limit, newer: 0 }
    }

    /// The messages just above `seq`.
    #[must_use]
    pub fn after(seq: i64, limit: i64) -> Self {
        Self { pivot: seq, older: 0, newer: limit }
    }

    /// The messages on both sides of `seq`. The message at `seq` counts as an older one.
    #[must_use]
    pub fn around(seq: i64, limit: i64) -> Self {
        Self { pivot: seq, older: limit - limit / 2, newer: limit / 2 }
    }
}

/// A page of history, ascending.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagePage {
    pub messages: Vec<Message>,
    pub head: Head,
    pub has_before: bool,
    pub has_after: bool,
    /// The changes of members and of the room among the messages, as event frames, ascending; only if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<EventForm>>, nullable = false)]
    pub system_events: Option<Vec<RawJson>>,
    /// Whether earlier ones were left out, because they were too many for the page; only if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub system_events_truncated: Option<bool>,
}

impl MessagePage {
    /// The seqs of the log that the page covers. The ranges of neighbouring pages leave no seq out. Empty if the first
    /// seq is above the last.
    #[must_use]
    pub fn range(&self, window: Window) -> RangeInclusive<i64> {
        let seq_of = |message: Option<&Message>| message.map(|message| message.seq);
        let first = match window.older {
            0 => window.pivot.saturating_add(1),
            _ if self.has_before => seq_of(self.messages.first()).unwrap_or(window.pivot),
            _ => 1,
        };
        let last = match window.newer {
            0 => window.pivot,
            _ if self.has_after => seq_of(self.messages.last()).unwrap_or(window.pivot),
            _ => self.head.seq,
        };
        first..=last.min(self.head.seq)
    }

    /// The bytes that the page may still have.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        MAX_PAGE_BYTES.saturating_sub(self.messages.iter().map(Message::json_bytes).sum())
    }
}

/// Reads a page, and skips any number of messages that are private to others. After the soft deadline returns the
/// messages found, if the client can continue from them; otherwise searches until the hard deadline. A long read takes
/// one of the `slots`. Refuses with `not_found` if the viewer may not see the room, with `unavailable` after the hard
/// deadline, and with `rate_limited` or `overloaded` if no slot is free.
pub async fn read_page(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    window: Window,
    slots: &RequestSlots,
) -> Result<MessagePage, RequestError> {
    let mut scan = PageScan::new(window);
    let (began, mut steps, mut slot) = (Instant::now(), 0, None);
    loop {
        if !scan.read_step(db, viewer, room).await? {
            return Err(Refusal::not_found("room").into());
        }
        steps += 1;
        let has_next_page = scan.has_next_page();
        if scan.is_complete() || (has_next_page && began.elapsed() > PAGE_SOFT_DEADLINE) {
            break;
        }
        if began.elapsed() > PAGE_HARD_DEADLINE {
            let message = "too many messages next to this position are private to others; retry";
            return Err(Refusal::unavailable(message).into());
        }
        if steps == MAX_STEPS_WITHOUT_SLOT {
            let kind = "searches past messages that are private to others";
            match slots.acquire_within(viewer.user, kind, SLOT_TIMEOUT).await {
                Ok(taken) => slot = Some(taken),
                Err(_) if has_next_page => break,
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }
    drop(slot);
    scan.into_page().ok_or_else(|| Refusal::not_found("room").into())
}

/// `$4` and `$7` are the seqs at which the steps to older and to newer messages begin. `$5` and `$6` are the wanted
/// numbers of older and newer messages; a negative number reads none. A step begins at the next existing message, and
/// returns the seq at which the next step would begin. It reads one message more than wanted, to know whether there are
/// more. `$9` and `$10` are the bytes that older and newer messages may have; those nearest to the pivot are kept.
const STEP_SQL: &str = concat!(
    "WITH ",
    me!(),
    ", begin AS MATERIALIZED (SELECT ",
    "(SELECT max(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq <= $4) AS older, ",
    "(SELECT min(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq > $7) AS newer), ",
    "older AS (",
    budget_begin!("$9", "p.seq DESC"),
    "(SELECT m.*, ",
    message_bytes!(),
    " AS bytes FROM messages m WHERE m.room_id = $1 AND m.seq <= (SELECT older FROM begin) ",
    "AND m.seq > (SELECT older - $8 FROM begin) AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "m.sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq DESC LIMIT $5 + 1)",
    budget_end!("$9"),
    "), newer AS (",
    budget_begin!("$10", "p.seq"),
    "(SELECT m.*, ",
    message_bytes!(),
    " AS bytes FROM messages m WHERE m.room_id = $1 AND m.seq >= (SELECT newer FROM begin) ",
    "AND m.seq < (SELECT newer + $8 FROM begin) AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "m.sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq LIMIT $6 + 1)",
    budget_end!("$10"),
    ") SELECT me.head_seq, me.epoch, m.ends_page, ",
    "(SELECT max(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq <= (SELECT older - $8 FROM begin)) AS then_older, ",
    "(SELECT min(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq >= (SELECT newer + $8 FROM begin)) AS then_newer, ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM me LEFT JOIN (SELECT * FROM older UNION ALL SELECT * FROM newer) m ON true ",
    "LEFT JOIN users u ON u.id = m.sender_id ORDER BY m.seq"
);

/// One direction of a page: the messages found, nearest to the pivot first, and the seq at which the next step begins.
#[derive(Debug)]
struct PageSide {
    wanted: i64,
    found: Vec<Message>,
    /// The bytes that this side may still have. A side whose budget is full is complete and has more messages.
    budget: PageBudget,
    /// The seq at which the next step begins; None at the end of the log.
    next: Option<i64>,
}

impl PageSide {
    fn new(wanted: i64, from: i64, bytes: usize) -> Self {
        Self { wanted, found: Vec::new(), budget: PageBudget::new(bytes), next: Some(from) }
    }

    /// Adds messages, nearest to the pivot first, until the budget is full. Each comes with the `ends_page` of its row.
    fn add(&mut self, rows: impl Iterator<Item = (Message, bool)>) {
        for (message, ends_page) in rows {
            if !self.budget.admit_bytes(message.json_bytes(), ends_page) {
                break;
            }
            self.found.push(message);
        }
    }

    /// The number of messages that this side still needs; negative if the side is complete.
    fn missing(&self) -> i64 {
        match self.next {
            Some(_) if !self.budget.is_full() => {
                self.wanted - i64::try_from(self.found.len()).unwrap_or(i64::MAX)
            }
            _ => -1,
        }
    }

    /// Removes messages beyond the wanted number. Returns whether this side has more messages, or was not searched to
    /// its end.
    fn truncate_to_wanted(&mut self) -> bool {
        let wanted = usize::try_from(self.wanted).unwrap_or_default();
        let more = self.budget.is_full() || self.found.len() > wanted || self.missing() >= 0;
        self.found.truncate(wanted);
        more
    }
}

/// The state of a page that is read step by step.
#[derive(Debug)]
struct PageScan {
    older: PageSide,
    newer: PageSide,
    /// The head of the room at the first step. Messages above it are not part of the page.
    head: Option<Head>,
}

impl PageScan {
    fn new(window: Window) -> Self {
        let Window { pivot, older, newer } = window;
        // A page around a message gives each side half of the bytes, so that it has the messages next to the pivot.
        let bytes = if older > 0 && newer > 0 { MAX_PAGE_BYTES / 2 } else { MAX_PAGE_BYTES };
        let side = |wanted| PageSide::new(wanted, pivot, bytes);
        Self { older: side(older), newer: side(newer), head: None }
    }

    /// Reads one step. Returns false if the viewer may not see the room.
    async fn read_step(
        &mut self,
        db: &impl ConnectionTrait,
        viewer: Viewer<'_>,
        room: &RoomId,
    ) -> Result<bool, DbErr> {
        let (older_missing, newer_missing) = (self.older.missing(), self.newer.missing());
        let older_from = self.older.next.unwrap_or_default();
        // From the second step on, the step must include the message at `next`, but the bound in SQL is exclusive.
        let newer_from = self.newer.next.map_or(i64::MAX, |seq| seq - i64::from(self.head.is_some()));
        let values = [
            room.as_str().into(),
            viewer.user.as_str().into(),
            viewer.admin.into(),
            older_from.into(),
            older_missing.into(),
            newer_missing.into(),
            newer_from.into(),
            STEP_SEQS.into(),
            self.older.budget.sql_value(),
            self.newer.budget.sql_value(),
        ];
        let rows = db.query_all_raw(statement(STEP_SQL, values)).await?;
        let Some(first) = rows.first() else { return Ok(false) };
        if self.head.is_none() {
            self.head = Some(Head::new(first.try_get("", "epoch")?, first.try_get("", "head_seq")?));
        }
        self.add_rows(&rows, room, older_from)?;
        if older_missing >= 0 {
            self.older.next = first.try_get("", "then_older")?;
        }
        if newer_missing >= 0 {
            self.newer.next = first.try_get("", "then_newer")?;
        }
        Ok(true)
    }

    fn add_rows(&mut self, rows: &[QueryResult], room: &RoomId, older_from: i64) -> Result<(), DbErr> {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(message) = Message::from_row(row, room.as_str())? {
                found.push((message, ends_page(row)?));
            }
        }
        // The rows ascend by seq. Older rows are at or below `older_from` and newer rows above it, so one split
        // separates them.
        let newer = found.split_off(found.partition_point(|(row, _)| row.seq <= older_from));
        self.older.add(found.into_iter().rev());
        // Messages that were stored after the first step are not part of the page.
        let head = self.head.as_ref().map_or(i64::MAX, |head| head.seq);
        self.newer.add(newer.into_iter().filter(|(row, _)| row.seq <= head));
        Ok(())
    }

    /// Whether each side has found one message more than wanted, or was searched to the end of the log. Then the page
    /// is complete, and it is known whether there are more messages.
    fn is_complete(&self) -> bool {
        self.older.missing() < 0 && self.newer.missing() < 0
    }

    /// Whether the client can continue: it can begin at a message found, or has reached the end of the log in its
    /// direction.
    fn has_next_page(&self) -> bool {
        let is_open = |side: &PageSide| side.wanted > 0 && side.missing() >= 0;
        let found = |side: &PageSide| side.wanted > 0 && !side.found.is_empty();
        found(&self.older) || found(&self.newer) || !(is_open(&self.older) || is_open(&self.newer))
    }

    /// Makes the page of the messages found. A side that was not searched to its end is reported to have more. None
    /// before the first step.
    fn into_page(mut self) -> Option<MessagePage> {
        let head = self.head?;
        let (has_before, has_after) = (self.older.truncate_to_wanted(), self.newer.truncate_to_wanted());
        let messages = self.older.found.into_iter().rev().chain(self.newer.found).collect();
        Some(MessagePage {
            messages,
            head,
            has_before,
            has_after,
            system_events: None,
            system_events_truncated: None,
        })
    }
}

#[cfg(test)]
mod tests;
