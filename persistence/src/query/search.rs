//! Full-text search, newest messages first. Searches the index slice by slice (a slice is up to 512 consecutive seqs of
//! a room), and reads each hit from the messages themselves. So no result is deleted, outdated or private to others,
//! even if the index is out of date.
//! The work is bounded: after a limit of slices or messages a page ends early, with a `next`.

mod pending_hits;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::access::Viewer;
use super::cursor::{LATEST, SearchCursor};
use super::messages::Message;
use super::sql::{message_columns, reactions, visible};
use crate::search::slice_prefix;
use crate::search::snippet::{Piece, snippet};
use crate::search::words::Query;
use crate::sql::statement;
use pending_hits::{Hit, PendingHits};

/// Number of slices that one page searches at most: 2 million messages. A slice without the words takes about 20 µs.
const MAX_SLICES: usize = 4096;
/// Number of messages, shown or not, that one page reads, and number that one statement reads.
const MAX_MESSAGES_READ: usize = 2000;
const MESSAGES_PER_STATEMENT: usize = 200;
/// Number of slices in one statement: few while slices have many hits, more while hits are rare.
const MIN_SLICES_PER_STATEMENT: usize = 4;
const MAX_SLICES_PER_STATEMENT: usize = 64;
/// Number of words of all slices in one statement.
const MAX_WORDS_PER_STATEMENT: usize = 256;
/// After fewer hits than this in one statement, the next statement searches twice as many slices.
const FEW_HITS: usize = 256;
/// Number of slices that one statement lists.
const SLICES_PER_LIST: i64 = 512;

/// A message that contains the words of the query.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResult {
    pub message: Message,
    /// The part of the message's text around the first hit, in pieces of plain text.
    pub snippet: Vec<Piece>,
}

/// A page of results, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchPage {
    pub results: Vec<SearchResult>,
    /// The cursor of the next page, null on the last page. A page with fewer results than requested may have a next
    /// page.
    #[schema(required)]
    pub next: Option<String>,
}

/// The query, the rooms to search, and the page to return.
#[derive(Clone, Copy, Debug)]
pub struct SearchRequest<'a> {
    pub query: &'a Query,
    /// The room to search, which the viewer may see, as the caller has checked. None for all rooms of the viewer.
    pub room: Option<&'a RoomId>,
    /// The cursor after which the page begins; None for the first page.
    pub cursor: Option<&'a SearchCursor>,
    pub limit: usize,
}

/// A slice in the index: up to 512 consecutive seqs of a room's log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    key: i64,
    last_at: DateTime<Utc>,
}

/// Searches for a page of messages that the viewer may see.
pub async fn search(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    request: SearchRequest<'_>,
) -> Result<SearchPage, DbErr> {
    let mut search = Search {
        viewer,
        request,
        pending: PendingHits::new(request.cursor.cloned()),
        slices: Vec::new(),
        listed: None,
        all_listed: false,
        slices_per_statement: MIN_SLICES_PER_STATEMENT,
        slices_searched: 0,
        read: 0,
    };
    let mut results: Vec<(Hit, SearchResult)> = Vec::new();
    loop {
        search.list_slices(db).await?;
        let horizon = search.slices.first().map(|slice| slice.last_at);
        // Reads one result more than requested, to know whether there is a next page.
        while results.len() <= request.limit {
            let hits = search.pending.take_newer_than(horizon, MESSAGES_PER_STATEMENT);
            let Some(last) = hits.last().map(Hit::cursor) else { break };
            search.read += hits.len();
            results.extend(search.read(db, hits).await?);
            if results.len() <= request.limit && search.read >= MAX_MESSAGES_READ {
                return Ok(page(results, Some(last.pack())));
            }
        }
        if results.len() > request.limit {
            results.truncate(request.limit);
            let next = results.last().map(|(last, _)| last.cursor().pack());
            return Ok(page(results, next));
        }
        let Some(horizon) = horizon else { return Ok(page(results, None)) };
        // The previous page also searched the slices that have messages on both sides of the cursor. A page ends early
        // only when it also searched older slices, so that each page makes progress.
        let moved = request.cursor.is_none_or(|cursor| horizon < cursor.at);
        if moved && search.slices_searched >= MAX_SLICES {
            return Ok(page(results, Some(SearchCursor::before(horizon).pack())));
        }
        search.search_slices(db).await?;
    }
}

fn page(results: Vec<(Hit, SearchResult)>, next: Option<String>) -> SearchPage {
    SearchPage { results: results.into_iter().map(|(_, result)| result).collect(), next }
}

struct Search<'a> {
    viewer: Viewer<'a>,
    request: SearchRequest<'a>,
    pending: PendingHits,
    /// Slices that are listed but not searched yet, in descending order of the time of their last messages.
    slices: Vec<Slice>,
    /// The last slice that was listed. The next list begins after it.
    listed: Option<Slice>,
    all_listed: bool,
    slices_per_statement: usize,
    slices_searched: usize,
    read: usize,
}

/// `$1` is the user or room, `$2` the newest time to search, `$3` and `$4` the slice after which the list continues,
/// `$5` the limit.
const MY_SLICES: &str = "\
    SELECT s.key, s.last_at FROM members mb JOIN search_slices s ON s.room_id = mb.room_id \
    WHERE mb.user_id = $1 AND s.first_at <= $2 AND (s.last_at, s.key) < ($3, $4) \
    ORDER BY s.last_at DESC, s.key DESC LIMIT $5";
const SLICES_OF_ROOM: &str = "\
    SELECT s.key, s.last_at FROM search_slices s \
    WHERE s.room_id = $1 AND s.first_at <= $2 AND (s.last_at, s.key) < ($3, $4) \
    ORDER BY s.last_at DESC, s.key DESC LIMIT $5";

const HITS: &str = "SELECT room_id, seq, at FROM message_search WHERE tsv @@ $1::tsquery";

/// The messages with the given rooms and seqs that the user `$2` may see.
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
    visible!("m", "m.sender_id", "mb.role"),
    " ORDER BY v.place"
);

impl Search<'_> {
    /// Lists more slices if no listed slice is left.
    async fn list_slices(&mut self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if !self.slices.is_empty() || self.all_listed {
            return Ok(());
        }
        let from = self.request.cursor.map_or(LATEST, |cursor| cursor.at);
        let (at, key) = self.listed.map_or((LATEST, i64::MAX), |slice| (slice.last_at, slice.key));
        let (sql, scope) = match self.request.room {
            Some(room) => (SLICES_OF_ROOM, room.as_str()),
            None => (MY_SLICES, self.viewer.user.as_str()),
        };
        let values = [scope.into(), from.into(), at.into(), key.into(), SLICES_PER_LIST.into()];
        let rows = db.query_all_raw(statement(sql, values)).await?;
        for row in &rows {
            self.slices.push(Slice { key: row.try_get_by("key")?, last_at: row.try_get_by("last_at")? });
        }
        self.all_listed = (rows.len() as i64) < SLICES_PER_LIST;
        self.listed = self.slices.last().copied().or(self.listed);
        Ok(())
    }

    /// Searches the index for hits in the next slices.
    async fn search_slices(&mut self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let limit =
            (MAX_WORDS_PER_STATEMENT / self.request.query.words()).clamp(1, self.slices_per_statement);
        let slices: Vec<Slice> = self.slices.drain(..limit.min(self.slices.len())).collect();
        let query = |slice: &Slice| self.request.query.slice_query(&slice_prefix(slice.key));
        let tsquery = slices.iter().map(query).collect::<Vec<_>>().join(" | ");
        let rows = db.query_all_raw(statement(HITS, [tsquery.into()])).await?;
        for row in &rows {
            let (room, seq, at) = (row.try_get_by("room_id")?, row.try_get_by("seq")?, row.try_get_by("at")?);
            self.pending.add(Hit { at, room, seq });
        }
        self.slices_searched += slices.len();
        if rows.len() < FEW_HITS {
            self.slices_per_statement = (self.slices_per_statement * 2).min(MAX_SLICES_PER_STATEMENT);
        } else {
            self.slices_per_statement = MIN_SLICES_PER_STATEMENT;
        }
        Ok(())
    }

    /// Reads the messages of the hits. Returns those that the viewer may see and that still contain the words.
    async fn read(
        &self,
        db: &impl ConnectionTrait,
        hits: Vec<Hit>,
    ) -> Result<Vec<(Hit, SearchResult)>, DbErr> {
        let rooms: Vec<String> = hits.iter().map(|hit| hit.room.clone()).collect();
        let seqs: Vec<i64> = hits.iter().map(|hit| hit.seq).collect();
        let any_room = self.viewer.admin && self.request.room.is_some();
        let values = [rooms.into(), self.viewer.user.as_str().into(), seqs.into(), any_room.into()];
        let rows = db.query_all_raw(statement(READ, values)).await?;
        rows.iter().filter_map(|row| self.result(row, &hits).transpose()).collect()
    }

    fn result(&self, row: &QueryResult, hits: &[Hit]) -> Result<Option<(Hit, SearchResult)>, DbErr> {
        let position: i64 = row.try_get("", "place")?;
        let hit = usize::try_from(position - 1).ok().and_then(|index| hits.get(index));
        let room: String = row.try_get("", "m_room")?;
        let (Some(hit), Some(message)) = (hit, Message::of(row, &room)?) else { return Ok(None) };
        let Some(ranges) = self.request.query.hits(&message.content) else { return Ok(None) };
        let snippet = snippet(&message.content, &ranges);
        Ok(Some((hit.clone(), SearchResult { message, snippet })))
    }
}
