//! Full-text search, newest messages first. Tests the signatures of blocks (a block is up to 64 consecutive seqs of a
//! room) in PostgreSQL, reads the visible texts of blocks that may contain the words, and reads each hit again with a
//! check of what the viewer may see. So no result is deleted, outdated or private to others, even if the index is out
//! of date. Messages that are not indexed yet are searched without the index, so a stored message is found at once.
//! Each page has a limit of work. A page that reaches the limit ends early, with a `next`. The words of hidden messages
//! change no page and no cursor, because the limits count tested blocks and visible texts. The limit of bytes is an
//! exception (`search/frontier.rs`). Long because a page is one loop over statements that share its state.

mod frontier;
mod pending_hits;
mod statements;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::access::Viewer;
use super::cursor::{LATEST_TIME, SearchCursor};
use super::messages::Message;
use super::page_budget::{PageBudget, ends_page};
use crate::search::signature::query_numbers;
use crate::search::snippet::{Piece, snippet};
use crate::search::words::Query;
use crate::search::{BLOCK_SEQS, block_of};
use crate::sql::{column, statement};
use frontier::{Candidate, Frontier, RoomFrontier, SearchStep, TestedBlocks};
use pending_hits::{Hit, PendingHits};
use statements::{MY_ROOMS_SQL, READ_HITS_SQL, ROOM_SQL, UNINDEXED_SQL, VISIBLE_TEXTS_SQL, test_blocks_sql};

/// Maximum number of seqs that a page searches without the index: per room (the newest seqs), and in total (of the
/// rooms that changed last). One statement reads at most 1,000 of them, to hold few texts in memory.
const MAX_UNINDEXED_SEQS_PER_ROOM: i64 = 1000;
const MAX_UNINDEXED_SEQS: i64 = 10_000;

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
    /// The room to search; the caller has checked that the viewer may see it. None searches all rooms of the viewer.
    pub room: Option<&'a RoomId>,
    /// The cursor after which the page begins; None for the first page.
    pub cursor: Option<&'a SearchCursor>,
    pub limit: usize,
}

/// Searches for a page of messages that the viewer may see.
pub async fn search(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    request: SearchRequest<'_>,
) -> Result<SearchPage, DbErr> {
    let numbers = query_numbers(request.query);
    let mut search = SearchRun {
        viewer,
        request,
        from: request.cursor.map_or(LATEST_TIME, |cursor| cursor.at),
        pending: PendingHits::new(request.cursor.cloned()),
        frontier: Frontier::new(request.cursor.map(|cursor| cursor.at)),
        indexed: HashMap::new(),
        unindexed_edits: HashSet::new(),
        test_blocks_sql: test_blocks_sql(numbers.len()),
        numbers: numbers.into(),
    };
    search.begin(db).await?;
    let mut results: Vec<(Hit, SearchResult)> = Vec::new();
    let mut budget = PageBudget::default();
    loop {
        let horizon = search.frontier.horizon();
        // Reads one result more than requested, to know whether there is a next page.
        while results.len() <= request.limit {
            let hits = search.pending.take_newer_than(horizon, request.limit + 1 - results.len());
            if hits.is_empty() {
                break;
            }
            if let Some(last) = search.read_hits(db, &hits, &mut results, &mut budget).await? {
                return Ok(make_page(results, Some(last.pack())));
            }
        }
        if results.len() > request.limit {
            results.truncate(request.limit);
            let next = results.last().map(|(last, _)| last.cursor().pack());
            return Ok(make_page(results, next));
        }
        match search.frontier.next_step() {
            SearchStep::EndPage(next) => {
                return Ok(make_page(results, next.map(|at| SearchCursor::starting_at(at).pack())));
            }
            SearchStep::Read(blocks) => search.read_blocks(db, &blocks).await?,
            SearchStep::Test(rooms, depth) => search.test_blocks(db, rooms, depth).await?,
        }
    }
}

fn make_page(results: Vec<(Hit, SearchResult)>, next: Option<String>) -> SearchPage {
    SearchPage { results: results.into_iter().map(|(_, result)| result).collect(), next }
}

/// The seqs of a room that are not indexed: those after `since`, up to `head`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnindexedRange {
    /// The first field, because rooms are ordered by it.
    updated_at: DateTime<Utc>,
    room: String,
    since: i64,
    head: i64,
}

/// Divides rooms into portions of up to [`MAX_UNINDEXED_SEQS_PER_ROOM`] seqs. Stops before all portions together exceed
/// [`MAX_UNINDEXED_SEQS`].
fn split_into_portions(rooms: &[UnindexedRange]) -> Vec<&[UnindexedRange]> {
    let (mut portions, mut begin, mut size, mut total) = (Vec::new(), 0, 0, 0);
    for (index, room) in rooms.iter().enumerate() {
        let positions = room.head - room.since;
        total += positions;
        if total > MAX_UNINDEXED_SEQS {
            portions.push(&rooms[begin..index]);
            return portions;
        }
        if size + positions > MAX_UNINDEXED_SEQS_PER_ROOM {
            portions.push(&rooms[begin..index]);
            (begin, size) = (index, 0);
        }
        size += positions;
    }
    portions.push(&rooms[begin..]);
    portions.retain(|portion| !portion.is_empty());
    portions
}

struct SearchRun<'a> {
    viewer: Viewer<'a>,
    request: SearchRequest<'a>,
    /// The page has only messages of this time or older ones.
    from: DateTime<Utc>,
    pending: PendingHits,
    frontier: Frontier,
    /// The seq of each room up to which it is indexed.
    indexed: HashMap<String, i64>,
    /// The room and seq of each visible message that is indexed, but not with its last edit. [`Self::begin`] has
    /// searched it without the index.
    unindexed_edits: HashSet<(String, i64)>,
    /// The statement that tests signatures, and the bit numbers of the query.
    test_blocks_sql: String,
    numbers: Value,
}

/// The room and seq of a message.
fn message_key(row: &QueryResult) -> Result<(String, i64), DbErr> {
    Ok((row.try_get_by("room_id")?, row.try_get_by("seq")?))
}

impl SearchRun<'_> {
    /// Finds the rooms and their newest blocks, and searches the messages that are not indexed.
    async fn begin(&mut self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let (sql, scope) = match self.request.room {
            Some(room) => (ROOM_SQL, room.as_str()),
            None => (MY_ROOMS_SQL, self.viewer.user.as_str()),
        };
        let mut unindexed = Vec::new();
        for row in &db.query_all_raw(statement(sql, [scope.into(), self.from.into()])).await? {
            let room: String = row.try_get_by("room_id")?;
            let (indexed, head): (i64, i64) = (row.try_get_by("indexed_seq")?, row.try_get_by("head_seq")?);
            let newest: (Option<i64>, Option<DateTime<Utc>>) =
                (row.try_get_by("block")?, row.try_get_by("last_at")?);
            self.indexed.insert(room.clone(), indexed);
            if let (Some(block), Some(horizon)) = newest {
                // The indexer may rewrite the last block meanwhile; that block then has a later time. The newest block
                // may be another one, if a clock went back. So a search without a cursor, which leaves out no block,
                // begins above all of them.
                let may_grow = block >= block_of(indexed) || self.request.cursor.is_none();
                let below = if may_grow { (LATEST_TIME, i64::MAX) } else { (horizon, block + 1) };
                self.frontier.add(RoomFrontier { horizon, room: room.clone(), below, left: block + 1 });
            }
            if head > indexed {
                let since = indexed.max(head - MAX_UNINDEXED_SEQS_PER_ROOM);
                unindexed.push(UnindexedRange {
                    updated_at: row.try_get_by("updated_at")?,
                    room,
                    since,
                    head,
                });
            }
        }
        unindexed.sort_unstable_by(|one, other| other.cmp(one));
        for rooms in split_into_portions(&unindexed) {
            let (names, since) = (column(rooms, |room| room.room.clone()), column(rooms, |room| room.since));
            let viewer = self.viewer.user.as_str().into();
            let values = [names, viewer, since, self.from.into(), MAX_UNINDEXED_SEQS_PER_ROOM.into()];
            for message in &db.query_all_raw(statement(UNINDEXED_SQL, values)).await? {
                let key = message_key(message)?;
                self.add_message(message, &key)?;
                if self.is_indexed(&key) {
                    self.unindexed_edits.insert(key);
                }
            }
        }
        Ok(())
    }

    /// Whether the room was indexed up to this message when the search began.
    fn is_indexed(&self, (room, seq): &(String, i64)) -> bool {
        self.indexed.get(room).is_some_and(|indexed| seq <= indexed)
    }

    /// Tests the signatures of the next `depth` blocks of rooms.
    async fn test_blocks(
        &mut self,
        db: &impl ConnectionTrait,
        rooms: Vec<RoomFrontier>,
        depth: i64,
    ) -> Result<(), DbErr> {
        let values = [
            column(&rooms, |room| room.room.clone()),
            self.viewer.user.as_str().into(),
            column(&rooms, |room| room.below.0),
            column(&rooms, |room| room.below.1),
            depth.into(),
            self.numbers.clone(),
            self.from.into(),
            BLOCK_SEQS.into(),
        ];
        let rows = db.query_all_raw(statement(&self.test_blocks_sql, values)).await?;
        let mut tested = TestedBlocks::default();
        for row in &rows {
            let (room, block, last_at): (String, i64, _) =
                (row.try_get_by("room")?, row.try_get_by("block")?, row.try_get_by("last_at")?);
            if row.try_get_by("is_last")? {
                let below = (last_at, block);
                let next = RoomFrontier { horizon: last_at, room: room.clone(), below, left: block };
                tested.rooms.push(next);
            }
            if row.try_get_by("is_candidate")? {
                tested.candidates.push(Candidate { last_at, room, block });
            }
        }
        self.frontier.add_tested(tested);
        Ok(())
    }

    /// Searches the visible texts of blocks. Reports to the frontier the bytes of each block, and whether it matches.
    /// Skips messages that are not indexed. [`Self::begin`] has searched the newest of them. The others must not be
    /// found here, because the words of hidden messages decide whether their block is read. A message with an old edit
    /// that is not indexed is not skipped.
    async fn read_blocks(&mut self, db: &impl ConnectionTrait, blocks: &[Candidate]) -> Result<(), DbErr> {
        let values = [
            column(blocks, |block| block.room.clone()),
            self.viewer.user.as_str().into(),
            column(blocks, |block| block.block),
            BLOCK_SEQS.into(),
            self.from.into(),
        ];
        // For each block, the bytes of its texts and the terms that they contain.
        let mut texts: HashMap<(String, i64), (usize, u32)> = HashMap::new();
        for message in &db.query_all_raw(statement(VISIBLE_TEXTS_SQL, values)).await? {
            let key = message_key(message)?;
            if !self.is_indexed(&key) || self.unindexed_edits.contains(&key) {
                continue;
            }
            let (bytes, terms) = self.add_message(message, &key)?;
            let block = texts.entry((key.0, block_of(key.1))).or_default();
            *block = (block.0 + bytes, block.1 | terms);
        }
        let all_terms = self.request.query.all_terms();
        for block in blocks {
            let key = (block.room.clone(), block.block);
            let (bytes, terms) = texts.get(&key).copied().unwrap_or_default();
            self.frontier.add_read(block, bytes, terms == all_terms);
        }
        Ok(())
    }

    /// Adds a visible message to the hits if it contains all terms. Returns the bytes of its text, and the terms that
    /// it contains.
    fn add_message(&mut self, row: &QueryResult, key: &(String, i64)) -> Result<(usize, u32), DbErr> {
        let text: String = row.try_get_by("content")?;
        let terms = self.request.query.terms_in(&text);
        if terms == self.request.query.all_terms() {
            self.pending.add(Hit { at: row.try_get_by("at")?, room: key.0.clone(), seq: key.1 });
        }
        Ok((text.len(), terms))
    }

    /// Reads the messages of the hits. Adds those that the viewer may see and that still contain the words to the
    /// results. Returns the cursor of the next page if the results have all bytes of a page.
    async fn read_hits(
        &self,
        db: &impl ConnectionTrait,
        hits: &[Hit],
        results: &mut Vec<(Hit, SearchResult)>,
        budget: &mut PageBudget,
    ) -> Result<Option<SearchCursor>, DbErr> {
        let rooms: Vec<String> = hits.iter().map(|hit| hit.room.clone()).collect();
        let seqs: Vec<i64> = hits.iter().map(|hit| hit.seq).collect();
        let any_room = self.viewer.admin && self.request.room.is_some();
        let user = self.viewer.user.as_str().into();
        let values = [rooms.into(), user, seqs.into(), any_room.into(), budget.sql_value()];
        for row in &db.query_all_raw(statement(READ_HITS_SQL, values)).await? {
            let position: i64 = row.try_get("", "place")?;
            let hit = usize::try_from(position - 1).ok().and_then(|index| hits.get(index));
            let (Some(hit), ends_page) = (hit, ends_page(row)?) else { continue };
            if let Some(result) = self.result_of_row(row)? {
                if !budget.admit(&result, ends_page) {
                    return Ok(results.last().map(|(last, _)| last.cursor()));
                }
                results.push((hit.clone(), result));
            }
            if ends_page {
                return Ok(Some(hit.cursor()));
            }
        }
        Ok(None)
    }

    fn result_of_row(&self, row: &QueryResult) -> Result<Option<SearchResult>, DbErr> {
        let room: String = row.try_get("", "m_room")?;
        let Some(message) = Message::from_row(row, &room)? else { return Ok(None) };
        let Some(ranges) = self.request.query.hits(&message.content) else { return Ok(None) };
        let snippet = snippet(&message.content, &ranges);
        Ok(Some(SearchResult { message, snippet }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_of_bounded_size_and_number() {
        let rooms = |positions: &[i64]| -> Vec<UnindexedRange> {
            let room = |head: &i64| UnindexedRange {
                updated_at: LATEST_TIME,
                room: "r".into(),
                since: 5,
                head: 5 + *head,
            };
            positions.iter().map(room).collect()
        };
        let sizes = |positions: &[i64]| -> Vec<usize> {
            split_into_portions(&rooms(positions)).into_iter().map(<[_]>::len).collect()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1000]), [1]);
        assert_eq!(sizes(&[999, 1, 1000, 1, 500, 500]), [2, 1, 2, 1]);
        assert_eq!(sizes(&[1; 20_000]), [1000; 10]);
        assert_eq!(sizes(&[1000; 12]), [1; 10]);
    }
}
