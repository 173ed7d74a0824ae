//! Decides which blocks a search tests and reads next: those with the newest messages first. Pure.
//! Each room is searched from its newest block to its oldest. A block that may contain the words is a *candidate* until
//! its texts are read.

use std::collections::{BTreeSet, BinaryHeap};

use chrono::{DateTime, Utc};

/// A page begins no further step after it tested, or read, this many blocks (32,768 blocks are 2 million messages).
/// Testing a block takes about 1 µs, reading its texts 200 µs. Blocks with messages on both sides of the cursor do not
/// count. The previous page searched them too, so a page that ended after such blocks would hardly advance.
const MAX_TESTED_BLOCKS: i64 = 32_768;
const MAX_READ_BLOCKS: usize = 256;
/// Number of blocks that one statement tests: few while many are candidates, more while candidates are rare.
const MIN_TESTS_PER_STATEMENT: i64 = 64;
const MAX_TESTS_PER_STATEMENT: i64 = 4096;
/// After fewer candidates than this from one statement, the next statement tests twice as many blocks.
const FEW_CANDIDATES: usize = 16;
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
    /// Read the texts of these blocks.
    Read(Vec<Candidate>),
    /// Test this number of the next blocks of each of these rooms.
    Test(Vec<RoomFrontier>, i64),
}

/// The rooms and candidates that a page must still test or read, and the work that it has done.
#[derive(Debug)]
pub struct Frontier {
    /// The time of the page's cursor. Only blocks before this time count as work.
    cursor_at: Option<DateTime<Utc>>,
    rooms: BinaryHeap<RoomFrontier>,
    candidates: BTreeSet<Candidate>,
    tests_per_statement: i64,
    reads_per_statement: usize,
    tested_blocks: i64,
    read_blocks: usize,
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
            read_blocks: 0,
        }
    }

    /// Adds the part of a room that the page must search.
    pub fn add(&mut self, room: RoomFrontier) {
        self.rooms.push(room);
    }

    /// Adds the result of [`SearchStep::Test`].
    pub fn add_tested(&mut self, tested: TestedBlocks) {
        self.tests_per_statement = if tested.candidates.len() < FEW_CANDIDATES {
            self.tests_per_statement * 2
        } else {
            MIN_TESTS_PER_STATEMENT
        };
        self.tests_per_statement = self.tests_per_statement.min(MAX_TESTS_PER_STATEMENT);
        self.rooms.extend(tested.rooms);
        self.candidates.extend(tested.candidates);
    }

    /// The newest time of a message that is not searched yet; None if all blocks are searched.
    pub fn horizon(&self) -> Option<DateTime<Utc>> {
        let candidate = self.candidates.last().map(|block| block.last_at);
        candidate.max(self.rooms.peek().map(|room| room.horizon))
    }

    /// Whether the page has reached the limit of its work.
    pub fn is_spent(&self) -> bool {
        self.tested_blocks >= MAX_TESTED_BLOCKS || self.read_blocks >= MAX_READ_BLOCKS
    }

    /// Decides the next step: reads candidates if no untested block can have a newer message.
    pub fn next_step(&mut self) -> SearchStep {
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
            self.read_blocks += blocks.iter().filter(|block| self.counts_as_work(block.last_at)).count();
            self.reads_per_statement = (self.reads_per_statement * 2).min(MAX_READS_PER_STATEMENT);
            return SearchStep::Read(blocks);
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
            self.tested_blocks += if self.counts_as_work(room.horizon) { room_tests } else { 0 };
            rooms.push(room);
        }
        SearchStep::Test(rooms, depth)
    }

    /// Whether a block whose newest message has this time counts as work of the page.
    fn counts_as_work(&self, last_at: DateTime<Utc>) -> bool {
        self.cursor_at.is_none_or(|cursor_at| last_at < cursor_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn room(name: &str, second: i64) -> RoomFrontier {
        RoomFrontier { horizon: at(second), room: name.into(), below: (at(second), 7), left: 1000 }
    }

    fn candidate(name: &str, second: i64) -> Candidate {
        Candidate { last_at: at(second), room: name.into(), block: 1 }
    }

    #[test]
    fn candidate_is_read_when_no_newer_block_is_untested() {
        let mut frontier = Frontier::new(None);
        assert_eq!(frontier.horizon(), None);
        frontier.add(room("a", 5));
        frontier.add(room("b", 9));
        assert_eq!(
            frontier.next_step(),
            SearchStep::Test(vec![room("b", 9), room("a", 5)], MIN_TESTS_PER_STATEMENT / 2)
        );
        assert_eq!(frontier.horizon(), None);
        let rooms = vec![room("a", 3), room("b", 7)];
        let candidates = vec![candidate("b", 9), candidate("b", 8), candidate("a", 4)];
        frontier.add_tested(TestedBlocks { rooms, candidates });
        assert_eq!(frontier.horizon(), Some(at(9)));
        assert_eq!(frontier.next_step(), SearchStep::Read(vec![candidate("b", 9), candidate("b", 8)]));
        assert_eq!(frontier.horizon(), Some(at(7)));
        assert_eq!(
            frontier.next_step(),
            SearchStep::Test(vec![room("b", 7), room("a", 3)], MIN_TESTS_PER_STATEMENT)
        );
        frontier.add_tested(TestedBlocks::default());
        assert_eq!(frontier.next_step(), SearchStep::Read(vec![candidate("a", 4)]));
        assert_eq!(frontier.horizon(), None);
    }

    #[test]
    fn small_rooms_are_tested_together() {
        let mut frontier = Frontier::new(None);
        for number in 0..400 {
            frontier.add(RoomFrontier { left: 1, ..room(&format!("r{number}"), 5) });
        }
        for rooms in [64, 128, 208] {
            assert!(matches!(frontier.next_step(), SearchStep::Test(tested, _) if tested.len() == rooms));
            frontier.add_tested(TestedBlocks::default());
        }
        assert!(!frontier.is_spent() && frontier.horizon().is_none());
    }

    #[test]
    fn work_of_a_page_is_bounded() {
        let mut frontier = Frontier::new(None);
        let mut tests = 0;
        while !frontier.is_spent() {
            frontier.add(RoomFrontier { left: 100_000, ..room("a", 5) });
            assert!(
                matches!(frontier.next_step(), SearchStep::Test(_, depth) if depth <= MAX_TESTS_PER_STATEMENT)
            );
            frontier.add_tested(TestedBlocks::default());
            tests += 1;
        }
        assert!((8..20).contains(&tests), "{tests}");
        let mut frontier = Frontier::new(None);
        let candidates = (0..600).map(|second| candidate("a", second)).collect();
        frontier.add_tested(TestedBlocks { rooms: Vec::new(), candidates });
        while !frontier.is_spent() {
            assert!(
                matches!(frontier.next_step(), SearchStep::Read(blocks) if blocks.len() <= MAX_READS_PER_STATEMENT)
            );
        }
        assert!(frontier.horizon() > Some(at(50)));
    }

    #[test]
    fn blocks_on_both_sides_of_the_cursor_do_not_count() {
        // Each page begins with 600 candidates newer than its cursor, and with the remaining older candidates.
        let (mut left, mut pages, mut steps) = (2000, 0, 0);
        while left > 0 {
            let mut frontier = Frontier::new(Some(at(left)));
            let candidates = (0..left + 600).map(|second| candidate("a", second)).collect();
            frontier.add_tested(TestedBlocks { rooms: Vec::new(), candidates });
            let rooms = (0..600).map(|n| RoomFrontier { left: 1, ..room(&format!("r{n}"), left + n) });
            rooms.for_each(|room| frontier.add(room));
            while !frontier.is_spent() && frontier.horizon().is_some() {
                steps += 1;
                if let SearchStep::Test(..) = frontier.next_step() {
                    frontier.add_tested(TestedBlocks::default());
                }
            }
            left = frontier.horizon().map_or(0, |horizon| horizon.timestamp());
            pages += 1;
        }
        assert!(
            pages <= 2000 / MAX_READ_BLOCKS as i64 + 1 && steps <= pages * 100,
            "{pages} pages, {steps} steps"
        );
    }
}
