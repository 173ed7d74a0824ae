//! Full-text search, newest messages first. Tests the signatures of blocks (a block is up to 64 consecutive seqs of a
//! room) in PostgreSQL, reads the texts of blocks that may contain the words, and reads each hit again with a check of
//! what the viewer may see. So no result is deleted, outdated or private to others, even if the index is out of date.
//! Messages that are not indexed yet are searched without the index, so a stored message is found at once.
//! The work is bounded: after a limit of blocks or messages a page ends early, with a `next`.

mod frontier;
mod pending_hits;
mod statements;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::access::Viewer;
use super::cursor::{LATEST_TIME, SearchCursor};
use super::messages::Message;
use crate::search::signature::query_numbers;
use crate::search::snippet::{Piece, snippet};
use crate::search::words::Query;
use crate::search::{BLOCK_SEQS, block_of};
use crate::sql::{TEXTS_OF_BLOCKS_SQL, column, statement};
use frontier::{Candidate, Frontier, RoomFrontier, SearchStep, TestedBlocks};
use pending_hits::{Hit, PendingHits};
use statements::{MY_ROOMS_SQL, READ_HITS_SQL, ROOM_SQL, UNINDEXED_SQL, test_blocks_sql};

/// Maximum number of hits that one page reads, and that one statement reads. Counts also hits that the viewer may not
/// see.
const MAX_MESSAGES_READ: usize = 2000;
const MAX_MESSAGES_PER_STATEMENT: usize = 200;
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
        test_blocks_sql: test_blocks_sql(numbers.len()),
        numbers: numbers.into(),
        hits_read: 0,
    };
    search.begin(db).await?;
    let mut results: Vec<(Hit, SearchResult)> = Vec::new();
    loop {
        let horizon = search.frontier.horizon();
        // Reads one result more than requested, to know whether there is a next page.
        while results.len() <= request.limit {
            let hits = search.pending.take_newer_than(horizon, MAX_MESSAGES_PER_STATEMENT);
            let Some(last) = hits.last().map(Hit::cursor) else { break };
            search.hits_read += hits.len();
            results.extend(search.read_hits(db, hits).await?);
            if results.len() <= request.limit && search.hits_read >= MAX_MESSAGES_READ {
                return Ok(make_page(results, Some(last.pack())));
            }
        }
        if results.len() > request.limit {
            results.truncate(request.limit);
            let next = results.last().map(|(last, _)| last.cursor().pack());
            return Ok(make_page(results, next));
        }
        let Some(horizon) = horizon else { return Ok(make_page(results, None)) };
        // The limit of work ends a page only after all blocks newer than its cursor are searched. So each page moves
        // the cursor back.
        let moved = request.cursor.is_none_or(|cursor| horizon < cursor.at);
        if moved && search.frontier.is_spent() {
            return Ok(make_page(results, Some(SearchCursor::starting_at(horizon).pack())));
        }
        match search.frontier.next_step() {
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
    /// The statement that tests signatures, and the bit numbers of the query.
    test_blocks_sql: String,
    numbers: Value,
    hits_read: usize,
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
            if let (Some(block), Some(horizon)) = newest {
                // The indexer may rewrite the last block meanwhile; that block then has a later time. The indexer may
                // also add blocks with messages that this search does not read without the index.
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
            let values = [names, since, self.from.into(), MAX_UNINDEXED_SEQS_PER_ROOM.into()];
            self.add_hits(&db.query_all_raw(statement(UNINDEXED_SQL, values)).await?)?;
        }
        Ok(())
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
            column(&rooms, |room| room.below.0),
            column(&rooms, |room| room.below.1),
            depth.into(),
            self.numbers.clone(),
            self.from.into(),
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
            if row.try_get_by("hit")? {
                tested.candidates.push(Candidate { last_at, room, block });
            }
        }
        self.frontier.add_tested(tested);
        Ok(())
    }

    /// Searches the texts of blocks.
    async fn read_blocks(&mut self, db: &impl ConnectionTrait, blocks: &[Candidate]) -> Result<(), DbErr> {
        let values = [
            column(blocks, |block| block.room.clone()),
            column(blocks, |block| block.block),
            BLOCK_SEQS.into(),
        ];
        self.add_hits(&db.query_all_raw(statement(TEXTS_OF_BLOCKS_SQL, values)).await?)
    }

    /// Adds the messages that contain the words.
    fn add_hits(&mut self, messages: &[QueryResult]) -> Result<(), DbErr> {
        for row in messages {
            let text: String = row.try_get_by("content")?;
            if self.request.query.hits(&text).is_some() {
                let (room, seq, at) =
                    (row.try_get_by("room_id")?, row.try_get_by("seq")?, row.try_get_by("at")?);
                self.pending.add(Hit { at, room, seq });
            }
        }
        Ok(())
    }

    /// Reads the messages of the hits. Returns those that the viewer may see and that still contain the words.
    async fn read_hits(
        &self,
        db: &impl ConnectionTrait,
        hits: Vec<Hit>,
    ) -> Result<Vec<(Hit, SearchResult)>, DbErr> {
        let rooms: Vec<String> = hits.iter().map(|hit| hit.room.clone()).collect();
        let seqs: Vec<i64> = hits.iter().map(|hit| hit.seq).collect();
        let any_room = self.viewer.admin && self.request.room.is_some();
        let values = [rooms.into(), self.viewer.user.as_str().into(), seqs.into(), any_room.into()];
        let rows = db.query_all_raw(statement(READ_HITS_SQL, values)).await?;
        rows.iter().filter_map(|row| self.result_of_row(row, &hits).transpose()).collect()
    }

    fn result_of_row(&self, row: &QueryResult, hits: &[Hit]) -> Result<Option<(Hit, SearchResult)>, DbErr> {
        let position: i64 = row.try_get("", "place")?;
        let hit = usize::try_from(position - 1).ok().and_then(|index| hits.get(index));
        let room: String = row.try_get("", "m_room")?;
        let (Some(hit), Some(message)) = (hit, Message::from_row(row, &room)?) else { return Ok(None) };
        let Some(ranges) = self.request.query.hits(&message.content) else { return Ok(None) };
        let snippet = snippet(&message.content, &ranges);
        Ok(Some((hit.clone(), SearchResult { message, snippet })))
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
