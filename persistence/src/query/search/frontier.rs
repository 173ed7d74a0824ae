//! Decides which blocks a search tests and reads next, those with the newest messages first, and where a page ends.
//! Pure. Each room is searched from its newest block to its oldest. A block that may contain the words is a *candidate*
//! until its texts are read. Hidden messages may make a block a candidate, so the number of candidates decides neither
//! which blocks are tested next nor where a page ends, unless the texts of a page are very long.

use std::collections::{BTreeSet, BinaryHeap};

use chrono::{DateTime, Utc};

/// A page tests no further blocks after this many: 64 + 128 + … + 4,096, up to 520,192 messages. Testing a block
/// takes about 1 µs, reading its texts 200 µs. The limit also bounds what a page reads if each tested block is a
/// candidate because of hidden messages.
const MAX_TESTED_BLOCKS: i64 = 8_128;
/// A page ends at this many matching blocks: their visible texts contain all terms of the query, in one message or in
/// several. So the limit bounds the reading for words that are common and rarely in the same message, and hidden
/// messages do not count.
const MAX_MATCHING_BLOCKS: usize = 256;
/// A page ends when it has read this many bytes of visible texts. Long texts with many different words make each block
/// a candidate, and without this limit such a page would take longer than a request may. All blocks that a page tests
/// have fewer bytes if their messages have 120 on average.
const MAX_TEXT_BYTES: usize = 64 << 20;
/// Number of blocks that one statement tests: at first, and the maximum. Each statement tests twice as many as the
/// previous one.
const MIN_TESTS_PER_STATEMENT: i64 = 64;
const MAX_TESTS_PER_STATEMENT: i64 = 4096;
/// Number of rooms in which one statement tests blocks: the usual number, and the maximum if rooms have few blocks.
const USUAL_ROOMS_PER_STATEMENT: usize = 32;
const MAX_ROOMS_PER_STATEMENT: usize = 256;
/// Number of blocks whose texts one statement reads: in the first statement of a page, and the maximum in later ones. A
/// message has up to 16 kB, so the texts of 16 blocks are at most 16 MB.
const MIN_READS_PER_STATEMENT: usize = 2;
const MAX_READS_PER_STATEMENT: usize = 16;

/// The part of a room that is not tested yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomFrontier {
    /// No block of this part has a newer message. The first field, because rooms are ordered by it.
    pub horizon: DateTime<Utc>,
    pub room: String,
    /// The part ends before this position in the order of blocks: time of the last message, then block number.
    pub below: (DateTime<Utc>, i64),
    /// The estimated number of blocks in this part.
    pub left: i64,
}

/// A block that may contain the words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The first field, because candidates are ordered by it.
    pub last_at: DateTime<Utc>,
    pub room: String,
    pub block: i64,
}

/// The result of [`SearchStep::Test`].
#[derive(Debug, Default)]
pub struct TestedBlocks {
    /// The rooms in which more blocks may be left.
    pub rooms: Vec<RoomFrontier>,
    pub candidates: Vec<Candidate>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum SearchStep {
    /// End the page. The next page begins at this time; None if all blocks are searched.
    EndPage(Option<DateTime<Utc>>),
    /// Read the texts of these blocks.
    Read(Vec<Candidate>),
    /// Test this number of the next blocks of each of these rooms.
    Test(Vec<RoomFrontier>, i64),
}

/// The rooms and candidates that a page must still test or read, and the work that it has done.
#[derive(Debug)]
pub struct Frontier {
    /// The time of the page's cursor. Blocks with messages on both sides of it do not count as work, because the
    /// previous page searched them too. If they counted, a page could end without moving the cursor.
    cursor_at: Option<DateTime<Utc>>,
    rooms: BinaryHeap<RoomFrontier>,
    candidates: BTreeSet<Candidate>,
    tests_per_statement: i64,
    reads_per_statement: usize,
    tested_blocks: i64,
    matching_blocks: usize,
    text_bytes: usize,
    /// Where the page ends: the time of the block that reached [`MAX_MATCHING_BLOCKS`], rounded up. None until then.
    ends_at: Option<DateTime<Utc>>,
}

impl Frontier {
    /// Starts the page after a cursor with this time; None starts the first page.
    pub fn new(cursor_at: Option<DateTime<Utc>>) -> Self {
        let (rooms, candidates) = (BinaryHeap::new(), BTreeSet::new());
        Self {
            cursor_at,
            rooms,
            candidates,
            tests_per_statement: MIN_TESTS_PER_STATEMENT,
            reads_per_statement: MIN_READS_PER_STATEMENT,
            tested_blocks: 0,
            matching_blocks: 0,
            text_bytes: 0,
            ends_at: None,
        }
    }

    /// Adds the part of a room that the page must search.
    pub fn add(&mut self, room: RoomFrontier) {
        self.rooms.push(room);
    }

    /// Adds the result of [`SearchStep::Test`].
    pub fn add_tested(&mut self, tested: TestedBlocks) {
        self.tests_per_statement = (self.tests_per_statement * 2).min(MAX_TESTS_PER_STATEMENT);
        self.rooms.extend(tested.rooms);
        self.candidates.extend(tested.candidates);
    }

    /// Counts a block that was read: the bytes of its visible texts, and whether together they contain all terms. The
    /// caller adds blocks in the order of [`SearchStep::Read`]. So the block that reaches the limit of matching blocks
    /// does not depend on other candidates.
    pub fn add_read(&mut self, block: &Candidate, text_bytes: usize, is_matching: bool) {
        if !self.is_before_cursor(block.last_at) {
            return;
        }
        self.text_bytes += text_bytes;
        self.matching_blocks += usize::from(is_matching);
        if self.matching_blocks == MAX_MATCHING_BLOCKS && self.ends_at.is_none() {
            self.ends_at = Some(ceil_to_second(block.last_at));
        }
    }

    /// All messages that are newer than this time are searched; None if all blocks are searched. It is a whole second,
    /// because the page may end here, and its cursor must not contain the exact time of a hidden message.
    pub fn horizon(&self) -> Option<DateTime<Utc>> {
        let candidate = self.candidates.last().map(|block| block.last_at);
        let unsearched = candidate.max(self.rooms.peek().map(|room| room.horizon)).map(ceil_to_second);
        self.ends_at.max(unsearched)
    }

    /// Decides the next step: reads candidates if no untested block can have a newer message.
    pub fn next_step(&mut self) -> SearchStep {
        if self.ends_at.is_some() {
            return SearchStep::EndPage(self.ends_at);
        }
        if let Some(unsearched) = self.horizon()
            && self.text_bytes >= MAX_TEXT_BYTES
            && self.is_before_cursor(unsearched)
        {
            return SearchStep::EndPage(Some(unsearched));
        }
        let horizon = self.rooms.peek().map(|room| room.horizon);
        let mut blocks = Vec::new();
        while blocks.len() < self.reads_per_statement
            && let Some(block) = self.candidates.pop_last()
        {
            if horizon.is_some_and(|horizon| block.last_at < horizon) {
                self.candidates.insert(block);
                break;
            }
            blocks.push(block);
        }
        if !blocks.is_empty() {
            self.reads_per_statement = (self.reads_per_statement * 2).min(MAX_READS_PER_STATEMENT);
            return SearchStep::Read(blocks);
        }
        let Some(horizon) = horizon else { return SearchStep::EndPage(None) };
        if self.tested_blocks >= MAX_TESTED_BLOCKS && self.is_before_cursor(horizon) {
            return SearchStep::EndPage(Some(ceil_to_second(horizon)));
        }
        let share = self.rooms.len().clamp(1, USUAL_ROOMS_PER_STATEMENT);
        let depth = (self.tests_per_statement / share as i64).max(1);
        let (mut rooms, mut tests) = (Vec::new(), 0);
        while (rooms.len() < share
            || tests < self.tests_per_statement && rooms.len() < MAX_ROOMS_PER_STATEMENT)
            && let Some(room) = self.rooms.pop()
        {
            let room_tests = room.left.clamp(1, depth);
            tests += room_tests;
            self.tested_blocks += if self.is_before_cursor(room.horizon) { room_tests } else { 0 };
            rooms.push(room);
        }
        SearchStep::Test(rooms, depth)
    }

    /// Whether a page that ends at a block moves the cursor, given the time of the block's newest message. Only such
    /// blocks count as work.
    fn is_before_cursor(&self, last_at: DateTime<Utc>) -> bool {
        self.cursor_at.is_none_or(|cursor_at| ceil_to_second(last_at) < cursor_at)
    }
}

/// The first whole second that is not before this time.
fn ceil_to_second(at: DateTime<Utc>) -> DateTime<Utc> {
    if at.timestamp_subsec_nanos() == 0 {
        return at;
    }
    DateTime::from_timestamp(at.timestamp() + 1, 0).unwrap_or(at)
}

#[cfg(test)]
mod tests;
