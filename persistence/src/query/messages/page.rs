//! Pages of history. Whoever reads walks over what is private to others: in steps that span no more than [`STEP`]
//! positions each, so that none of them is long and others have their turn in between.
//! Promises that a page costs the same at any depth of the room, but for what is walked over.

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::super::access::Viewer;
use super::super::json::Head;
use super::super::sql::{epoch_of, me, message_columns, reactions, statement, visible};
use super::{Message, MessageRow};

/// Positions of the log that one step spans.
const STEP: i64 = 10_000;

/// Which messages a page holds: up to `older` at or below `pivot` and up to `newer` above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub pivot: i64,
    pub older: i64,
    pub newer: i64,
}

impl Window {
    #[must_use]
    pub fn last(limit: i64) -> Self {
        Self { pivot: i64::MAX, older: limit, newer: 0 }
    }

    #[must_use]
    pub fn before(seq: i64, limit: i64) -> Self {
        Self { pivot: seq.saturating_sub(1), older: limit, newer: 0 }
    }

    #[must_use]
    pub fn after(seq: i64, limit: i64) -> Self {
        Self { pivot: seq, older: 0, newer: limit }
    }

    /// `seq` itself counts among the older half.
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
}

/// `$4` and `$7`: where the step to older and that to newer messages begin; `$5` and `$6` how many are wanted, less
/// than none where nothing is to be read. A step begins at the next message that there is, whatever was taken out of
/// the log, and tells at which one another would begin. One message more than wanted is read: it tells whether there
/// are any.
const STEP_SQL: &str = concat!(
    "WITH ",
    me!(),
    ", begin AS MATERIALIZED (SELECT ",
    "(SELECT max(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq <= $4) AS older, ",
    "(SELECT min(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq > $7) AS newer), ",
    "older AS (SELECT m.* FROM messages m WHERE m.room_id = $1 AND m.seq <= (SELECT older FROM begin) ",
    "AND m.seq > (SELECT older - $8 FROM begin) AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq DESC LIMIT $5 + 1), ",
    "newer AS (SELECT m.* FROM messages m WHERE m.room_id = $1 AND m.seq >= (SELECT newer FROM begin) ",
    "AND m.seq < (SELECT newer + $8 FROM begin) AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq LIMIT $6 + 1) ",
    "SELECT me.head_seq, me.epoch, ",
    "(SELECT max(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq <= (SELECT older - $8 FROM begin)) AS then_older, ",
    "(SELECT min(b.seq) FROM messages b WHERE b.room_id = $1 AND b.seq >= (SELECT newer + $8 FROM begin)) AS then_newer, ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM me LEFT JOIN (SELECT * FROM older UNION ALL SELECT * FROM newer) m ON true ",
    "LEFT JOIN users u ON u.id = m.sender_id ORDER BY m.seq"
);

/// One direction of a page: what was found, nearest first, and where the next step begins.
#[derive(Debug)]
struct Side {
    wanted: i64,
    found: Vec<MessageRow>,
    /// None at the end of the log.
    next: Option<i64>,
}

impl Side {
    fn new(wanted: i64, from: i64) -> Self {
        Self { wanted, found: Vec::new(), next: Some(from) }
    }

    /// How many more are to be read to know this side; less than none when it is known.
    fn missing(&self) -> i64 {
        match self.next {
            Some(_) => self.wanted - i64::try_from(self.found.len()).unwrap_or(i64::MAX),
            None => -1,
        }
    }

    /// Takes the one too many off. True: there is more on this side, or nobody has looked.
    fn cut(&mut self) -> bool {
        let wanted = usize::try_from(self.wanted).unwrap_or_default();
        let more = self.found.len() > wanted || self.missing() >= 0;
        self.found.truncate(wanted);
        more
    }
}

/// A page that is being read, step by step.
#[derive(Debug)]
pub struct Walk {
    older: Side,
    newer: Side,
    /// As of the first step: what changes behind it is told above it.
    head: Option<Head>,
}

impl Walk {
    #[must_use]
    pub fn new(window: Window) -> Self {
        let Window { pivot, older, newer } = window;
        Self { older: Side::new(older, pivot), newer: Side::new(newer, pivot), head: None }
    }

    /// One step on. False: the room is not the viewer's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn step(
        &mut self,
        db: &impl ConnectionTrait,
        viewer: Viewer<'_>,
        room: &RoomId,
    ) -> Result<bool, DbErr> {
        let (older_missing, newer_missing) = (self.older.missing(), self.newer.missing());
        let older_from = self.older.next.unwrap_or_default();
        // From a second step on it begins at a message, which is not to be left out.
        let newer_from = self.newer.next.map_or(i64::MAX, |seq| seq - i64::from(self.head.is_some()));
        let values = [
            room.as_str().into(),
            viewer.user.as_str().into(),
            viewer.admin.into(),
            older_from.into(),
            older_missing.into(),
            newer_missing.into(),
            newer_from.into(),
            STEP.into(),
        ];
        let rows = db.query_all_raw(statement(STEP_SQL, values)).await?;
        let Some(first) = rows.first() else { return Ok(false) };
        if self.head.is_none() {
            self.head = Some(Head::new(first.try_get("", "epoch")?, first.try_get("", "head_seq")?));
        }
        self.take(&rows, older_from)?;
        if older_missing >= 0 {
            self.older.next = first.try_get("", "then_older")?;
        }
        if newer_missing >= 0 {
            self.newer.next = first.try_get("", "then_newer")?;
        }
        Ok(true)
    }

    fn take(&mut self, rows: &[QueryResult], older_from: i64) -> Result<(), DbErr> {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            found.extend(MessageRow::of(row)?);
        }
        // Ascending; the two sides never meet.
        let newer = found.split_off(found.partition_point(|row| row.seq <= older_from));
        self.older.found.extend(found.into_iter().rev());
        // What came since the first step is no part of the page.
        let head = self.head.as_ref().map_or(i64::MAX, |head| head.seq);
        self.newer.found.extend(newer.into_iter().filter(|row| row.seq <= head));
        Ok(())
    }

    /// Whether all of the page, and what lies around it, is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.older.missing() < 0 && self.newer.missing() < 0
    }

    /// Whether a client could go on from what was found, or finds nothing where it looks.
    #[must_use]
    pub fn leads_on(&self) -> bool {
        let is_open = |side: &Side| side.wanted > 0 && side.missing() >= 0;
        let found = |side: &Side| side.wanted > 0 && !side.found.is_empty();
        found(&self.older) || found(&self.newer) || !(is_open(&self.older) || is_open(&self.newer))
    }

    /// What was found; a side that is not settled is told to have more. None before the first step.
    ///
    /// # Errors
    /// When a stored message cannot be told.
    pub fn into_page(mut self, room: &RoomId) -> Result<Option<MessagePage>, DbErr> {
        let Some(head) = self.head else { return Ok(None) };
        let (has_before, has_after) = (self.older.cut(), self.newer.cut());
        let rows = self.older.found.into_iter().rev().chain(self.newer.found);
        let messages = rows.map(|row| row.message(room.as_str())).collect::<Result<_, _>>()?;
        Ok(Some(MessagePage { messages, head, has_before, has_after }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    /// A walk of one step that found these, and found the ends of the log or did not.
    fn walk(window: Window, found: &[i64], next: (Option<i64>, Option<i64>)) -> Walk {
        let mut walk = Walk::new(window);
        let (older, newer): (Vec<i64>, Vec<i64>) = found.iter().partition(|seq| **seq <= window.pivot);
        walk.older.found = older.into_iter().rev().map(row).collect();
        walk.newer.found = newer.into_iter().map(row).collect();
        (walk.older.next, walk.newer.next) = next;
        walk.head = Some(Head::new(1, 100));
        walk
    }

    fn told(walk: Walk) -> (Vec<i64>, bool, bool) {
        let page = walk.into_page(&RoomId::parse("r").unwrap()).unwrap().unwrap();
        (page.messages.iter().map(|message| message.seq).collect(), page.has_before, page.has_after)
    }

    #[test]
    fn a_page_tells_whether_there_is_more_on_either_side() {
        for (window, found, expected) in [
            (Window::last(2), &[7, 8, 9][..], (vec![8, 9], true, false)),
            (Window::last(3), &[7, 8, 9], (vec![7, 8, 9], false, false)),
            (Window::before(8, 2), &[5, 6, 7, 8], (vec![6, 7], true, true)),
            (Window::after(8, 2), &[8, 9, 10, 11], (vec![9, 10], true, true)),
            (Window::after(8, 2), &[9], (vec![9], false, false)),
            (Window::around(8, 3), &[6, 7, 8, 9, 10], (vec![7, 8, 9], true, true)),
            (Window::around(8, 1), &[7, 8, 9], (vec![8], true, true)),
            (Window::last(2), &[], (vec![], false, false)),
        ] {
            let walk = walk(window, found, (None, None));
            assert!(walk.is_settled());
            assert_eq!(told(walk), expected, "{window:?} {found:?}");
        }
    }

    #[test]
    fn where_nobody_has_looked_yet_there_is_said_to_be_more() {
        let open = |window, found: &[i64]| {
            let walk = walk(window, found, (Some(3), Some(90)));
            (walk.is_settled(), walk.leads_on(), told(walk))
        };
        assert_eq!(open(Window::before(50, 2), &[40]), (false, true, (vec![40], true, true)));
        assert_eq!(open(Window::before(50, 2), &[20, 30, 40, 60]), (true, true, (vec![30, 40], true, true)));
        assert_eq!(open(Window::around(50, 4), &[60]), (false, true, (vec![60], true, true)));
    }

    #[test]
    fn a_page_leads_on_only_from_a_message_or_past_the_end() {
        let leads_on = |window, found: &[i64], next| walk(window, found, next).leads_on();
        assert!(!leads_on(Window::before(50, 2), &[], (Some(3), None)));
        // That something lies above does not help who goes down.
        assert!(!leads_on(Window::before(50, 2), &[60], (Some(3), Some(90))));
        assert!(leads_on(Window::before(50, 2), &[], (None, Some(90))));
        assert!(leads_on(Window::before(50, 2), &[40], (Some(3), None)));
        assert!(!leads_on(Window::around(50, 2), &[], (None, Some(90))));
        assert!(leads_on(Window::around(50, 2), &[40], (None, Some(90))));
    }
}
