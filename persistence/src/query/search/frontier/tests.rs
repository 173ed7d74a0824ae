//! Tests of the order of the steps of a page, and of the limits at which it ends.

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
    assert_eq!((frontier.horizon(), frontier.next_step()), (None, SearchStep::EndPage(None)));
}

/// Takes the steps of a page whose tests find no more blocks. All blocks of the room `visible` match. Returns where
/// the page ends, and the number of steps.
fn finish_page(frontier: &mut Frontier) -> (Option<DateTime<Utc>>, usize) {
    let mut steps = 0;
    loop {
        match frontier.next_step() {
            SearchStep::EndPage(next) => return (next, steps),
            SearchStep::Test(..) => frontier.add_tested(TestedBlocks::default()),
            SearchStep::Read(blocks) => {
                assert!(blocks.len() <= MAX_READS_PER_STATEMENT);
                blocks.iter().for_each(|block| frontier.add_read(block, 4000, block.room == "visible"));
            }
        }
        steps += 1;
    }
}

#[test]
fn end_after_tested_blocks_ignores_candidates() {
    for is_candidate in [false, true] {
        let mut frontier = Frontier::new(None);
        let mut depths = Vec::new();
        frontier.add(RoomFrontier { left: 100_000, ..room("a", 100) });
        let next = loop {
            match frontier.next_step() {
                SearchStep::EndPage(next) => break next,
                SearchStep::Read(_) => {}
                SearchStep::Test(_, depth) => {
                    depths.push(depth);
                    let second = 100 - depths.len() as i64;
                    let rooms = vec![RoomFrontier { left: 100_000, ..room("a", second) }];
                    let candidates = (0..depth).map(|_| candidate("a", second)).filter(|_| is_candidate);
                    frontier.add_tested(TestedBlocks { rooms, candidates: candidates.collect() });
                }
            }
        };
        assert_eq!(depths, [64, 128, 256, 512, 1024, 2048, 4096]);
        assert_eq!(depths.iter().sum::<i64>(), MAX_TESTED_BLOCKS);
        assert_eq!((next, frontier.horizon()), (Some(at(93)), Some(at(93))));
    }
}

#[test]
fn end_at_a_matching_block_ignores_other_candidates() {
    for hidden in [0, 7, 600] {
        let mut frontier = Frontier::new(None);
        let candidates = (0..600).map(|second| candidate("visible", second));
        let candidates = candidates.chain((0..hidden).map(|n| candidate("hidden", 600 - n)));
        frontier.add_tested(TestedBlocks { rooms: Vec::new(), candidates: candidates.collect() });
        assert_eq!(
            finish_page(&mut frontier).0,
            Some(at(600 - MAX_MATCHING_BLOCKS as i64)),
            "{hidden} hidden"
        );
        assert_eq!(frontier.horizon(), Some(at(600 - MAX_MATCHING_BLOCKS as i64)));
    }
}

#[test]
fn page_ends_after_long_texts_and_moves_the_cursor() {
    let mut frontier = Frontier::new(Some(at(590)));
    let candidates = (0..600).map(|second| candidate("hidden", second)).collect();
    frontier.add_tested(TestedBlocks { rooms: Vec::new(), candidates });
    let mut read = 0;
    let next = loop {
        match frontier.next_step() {
            SearchStep::EndPage(next) => break next,
            SearchStep::Test(..) => unreachable!("no room is left"),
            SearchStep::Read(blocks) => {
                read += blocks.len();
                blocks.iter().for_each(|block| frontier.add_read(block, 1 << 20, false));
            }
        }
    };
    // The ten blocks at or after the cursor do not count.
    assert!((64 + 10..64 + 10 + MAX_READS_PER_STATEMENT).contains(&read), "{read}");
    assert_eq!(next, Some(at(599 - read as i64)));
}

#[test]
fn horizon_is_a_whole_second() {
    let mut frontier = Frontier::new(None);
    for (millis, second) in [(4_001, 5), (5_000, 5), (5_999, 6)] {
        frontier
            .add(RoomFrontier { horizon: DateTime::from_timestamp_millis(millis).unwrap(), ..room("a", 0) });
        assert_eq!(frontier.horizon(), Some(at(second)));
    }
}

#[test]
fn blocks_on_both_sides_of_the_cursor_do_not_count() {
    // Each page begins with 600 candidates newer than its cursor, and with the remaining older candidates.
    let (mut left, mut pages, mut steps) = (2000, 0, 0);
    while left > 0 {
        let mut frontier = Frontier::new(Some(at(left)));
        let candidates = (0..left + 600).map(|second| candidate("visible", second)).collect();
        frontier.add_tested(TestedBlocks { rooms: Vec::new(), candidates });
        let rooms = (0..600).map(|n| RoomFrontier { left: 1, ..room(&format!("r{n}"), left + n) });
        rooms.for_each(|room| frontier.add(room));
        let (next, page_steps) = finish_page(&mut frontier);
        left = next.map_or(0, |next| next.timestamp());
        steps += page_steps;
        pages += 1;
    }
    assert!(pages <= 2000 / MAX_MATCHING_BLOCKS + 1 && steps <= pages * 100, "{pages} pages, {steps} steps");
}
