//! Full-text search, newest first: the index is asked slice by slice, and what it finds is read from the messages
//! themselves, so that nobody is shown what is deleted, changed or private by now, however far the index is behind.
//! Promises bounded work: a page ends early, with a `next`, rather than to look at too much.

mod frontier;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::access::Viewer;
use super::cursor::{LATEST, SearchCursor};
use super::messages::{Message, MessageRow};
use super::sql::{message_columns, reactions, statement, visible};
use crate::search::snippet::{Piece, snippet};
use crate::search::words::Query;
use frontier::{Frontier, Hit};

/// Slices that one page looks at, if it must: 2 million messages. A slice in which the words do not occur costs some
/// 20 µs.
const MAX_SLICES: usize = 4096;
/// Messages that one page reads, shown or not, and so many at a time.
const MAX_READ: usize = 2000;
const READ_AT_ONCE: usize = 200;
/// Slices asked for in one statement: few while they are full of hits, more while they are not.
const FEWEST_SLICES: usize = 4;
const MOST_SLICES: usize = 64;
/// Words in one statement.
const MOST_WORDS: usize = 256;
/// Fewer hits than this in one statement: the next one asks of twice as many slices.
const FEW_HITS: usize = 256;
/// Slices listed at a time.
const SLICES_LISTED: i64 = 512;

/// One message that was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResult {
    pub message: Message,
    /// The part of its text that shows why, in pieces of plain text.
    pub snippet: Vec<Piece>,
}

/// A page of results, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchPage {
    pub results: Vec<SearchResult>,
    /// Null at the end. A page may hold fewer results than asked for, or none, and yet have a `next`.
    #[schema(required)]
    pub next: Option<String>,
}

/// What is searched for, and where.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub query: &'a Query,
    /// None: all rooms of which the viewer is a member. Else one that the caller has found to be the viewer's.
    pub room: Option<&'a RoomId>,
    /// Goes on behind.
    pub cursor: Option<&'a SearchCursor>,
    pub limit: usize,
}

/// A slice of a room's log as the index keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    key: i64,
    last_at: DateTime<Utc>,
}

/// A page of what the viewer may see.
///
/// # Errors
/// When the database cannot be read.
pub async fn search(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    asked: Asked<'_>,
) -> Result<SearchPage, DbErr> {
    let mut search = Search {
        viewer,
        asked,
        frontier: Frontier::new(asked.cursor.cloned()),
        slices: Vec::new(),
        listed: None,
        all_listed: false,
        at_once: FEWEST_SLICES,
        looked_at: 0,
        read: 0,
    };
    let mut results: Vec<(Hit, SearchResult)> = Vec::new();
    loop {
        search.list(db).await?;
        let horizon = search.slices.first().map(|slice| slice.last_at);
        // One more than asked for tells whether there is a next page.
        while results.len() <= asked.limit {
            let hits = search.frontier.settled(horizon, READ_AT_ONCE);
            let Some(last) = hits.last().map(Hit::cursor) else { break };
            search.read += hits.len();
            results.extend(search.read(db, hits).await?);
            if results.len() <= asked.limit && search.read >= MAX_READ {
                return Ok(page(results, Some(last.pack())));
            }
        }
        if results.len() > asked.limit {
            results.truncate(asked.limit);
            let next = results.last().map(|(last, _)| last.cursor().pack());
            return Ok(page(results, next));
        }
        let Some(horizon) = horizon else { return Ok(page(results, None)) };
        // Slices that reach beyond the cursor were looked at by the page before as well: only behind them is progress.
        let moved = asked.cursor.is_none_or(|cursor| horizon < cursor.at);
        if moved && search.looked_at >= MAX_SLICES {
            return Ok(page(results, Some(SearchCursor::before(horizon).pack())));
        }
        search.look(db).await?;
    }
}

fn page(results: Vec<(Hit, SearchResult)>, next: Option<String>) -> SearchPage {
    SearchPage { results: results.into_iter().map(|(_, result)| result).collect(), next }
}

/// A search under way.
struct Search<'a> {
    viewer: Viewer<'a>,
    asked: Asked<'a>,
    frontier: Frontier,
    /// Not looked at yet, in the order of their last messages.
    slices: Vec<Slice>,
    /// The last one that was listed.
    listed: Option<Slice>,
    all_listed: bool,
    at_once: usize,
    looked_at: usize,
    read: usize,
}

/// `$1` user or room, `$2` the time from which on messages are asked for, `$3` and `$4` where the list goes on, `$5`
/// how many.
const MY_SLICES: &str = "\
    SELECT s.key, s.last_at FROM members mb JOIN search_slices s ON s.room_id = mb.room_id \
    WHERE mb.user_id = $1 AND s.first_at <= $2 AND (s.last_at, s.key) < ($3, $4) \
    ORDER BY s.last_at DESC, s.key DESC LIMIT $5";
const SLICES_OF_ROOM: &str = "\
    SELECT s.key, s.last_at FROM search_slices s \
    WHERE s.room_id = $1 AND s.first_at <= $2 AND (s.last_at, s.key) < ($3, $4) \
    ORDER BY s.last_at DESC, s.key DESC LIMIT $5";

const HITS: &str = "SELECT room_id, seq, at FROM message_search WHERE tsv @@ $1::tsquery";

/// Messages by room and seq, as far as `$2` may see them now.
const READ: &str = concat!(
    "SELECT v.place, m.room_id AS m_room, ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM unnest($1::text[], $3::bigint[]) WITH ORDINALITY AS v (room, seq, place) \
     CROSS JOIN LATERAL (SELECT * FROM messages w WHERE w.room_id = v.room AND w.seq = v.seq LIMIT 1) m \
     LEFT JOIN LATERAL (SELECT * FROM members w WHERE w.room_id = v.room AND w.user_id = $2 LIMIT 1) mb ON true \
     LEFT JOIN LATERAL (SELECT * FROM users w WHERE w.id = m.sender_id LIMIT 1) u ON true \
     WHERE NOT m.deleted AND (mb.user_id IS NOT NULL OR $4) AND ",
    visible!("m", "sender_id", "mb.role"),
    " ORDER BY v.place"
);

impl Search<'_> {
    /// Lists more slices when none is left.
    async fn list(&mut self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if !self.slices.is_empty() || self.all_listed {
            return Ok(());
        }
        let from = self.asked.cursor.map_or(LATEST, |cursor| cursor.at);
        let (at, key) = self.listed.map_or((LATEST, i64::MAX), |slice| (slice.last_at, slice.key));
        let (sql, whose) = match self.asked.room {
            Some(room) => (SLICES_OF_ROOM, room.as_str()),
            None => (MY_SLICES, self.viewer.user.as_str()),
        };
        let values = [whose.into(), from.into(), at.into(), key.into(), SLICES_LISTED.into()];
        let rows = db.query_all_raw(statement(sql, values)).await?;
        for row in &rows {
            self.slices.push(Slice { key: row.try_get_by_index(0)?, last_at: row.try_get_by_index(1)? });
        }
        self.all_listed = (rows.len() as i64) < SLICES_LISTED;
        self.listed = self.slices.last().copied().or(self.listed);
        Ok(())
    }

    /// Asks the index of the next slices.
    async fn look(&mut self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let most = (MOST_WORDS / self.asked.query.words()).clamp(1, self.at_once);
        let slices: Vec<Slice> = self.slices.drain(..most.min(self.slices.len())).collect();
        let about = slices.iter().map(|slice| self.asked.query.about(&format!("{:x}", slice.key)));
        let question = about.collect::<Vec<_>>().join(" | ");
        let rows = db.query_all_raw(statement(HITS, [question.into()])).await?;
        for row in &rows {
            let (room, seq, at) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            self.frontier.add(Hit { at, room, seq });
        }
        self.looked_at += slices.len();
        if rows.len() < FEW_HITS {
            self.at_once = (self.at_once * 2).min(MOST_SLICES);
        } else {
            self.at_once = FEWEST_SLICES;
        }
        Ok(())
    }

    /// Reads what was found, and keeps what is there to be seen and still holds the words.
    async fn read(
        &self,
        db: &impl ConnectionTrait,
        hits: Vec<Hit>,
    ) -> Result<Vec<(Hit, SearchResult)>, DbErr> {
        let rooms: Vec<String> = hits.iter().map(|hit| hit.room.clone()).collect();
        let seqs: Vec<i64> = hits.iter().map(|hit| hit.seq).collect();
        let any_room = self.viewer.admin && self.asked.room.is_some();
        let values = [rooms.into(), self.viewer.user.as_str().into(), seqs.into(), any_room.into()];
        let mut found = Vec::new();
        for row in &db.query_all_raw(statement(READ, values)).await? {
            found.extend(self.result(row, &hits)?);
        }
        Ok(found)
    }

    fn result(&self, row: &QueryResult, hits: &[Hit]) -> Result<Option<(Hit, SearchResult)>, DbErr> {
        let place: i64 = row.try_get("", "place")?;
        let hit = usize::try_from(place - 1).ok().and_then(|place| hits.get(place));
        let room: String = row.try_get("", "m_room")?;
        let (Some(hit), Some(message)) = (hit, MessageRow::of(row)?) else { return Ok(None) };
        let Some(ranges) = self.asked.query.hits(&message.content) else { return Ok(None) };
        let snippet = snippet(&message.content, &ranges);
        Ok(Some((hit.clone(), SearchResult { message: message.message(&room)?, snippet })))
    }
}
