//! A fault: the wall clock of one process jumps, and later jumps back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Part, World};
use crate::WallClock;

/// Longer than the longest jump of a clock and the longest pause between two attempts together, in seconds.
const ALL_PAUSES_S: i64 = 9000;

pub(super) async fn shift_clock(world: &World, part: Part, seconds: i64, time: Duration) -> Result<()> {
    let clock = clock_of(world, part)?;
    clock.shift(seconds)?;
    sleep(time).await;
    clock.shift(0)
}

fn clock_of(world: &World, part: Part) -> Result<&WallClock> {
    Ok(match part {
        Part::Gateway(number) => world.stack.gateway(number).clock(),
        Part::Persistence(number) => world.stack.persistence(number).clock(),
        Part::Redis => world.redis()?.clock(),
        Part::Postgres => world.stack.database().server().clock(),
    })
}

/// Puts the clock of PostgreSQL forward, further than any fault, so that all pauses between attempts are over. A pause that
/// begins while a fault has put this clock forward lasts longer, by as much as the clock then goes back.
pub(super) fn end_all_pauses(world: &World) -> Result<()> {
    world.stack.database().server().clock().shift(ALL_PAUSES_S)
}
