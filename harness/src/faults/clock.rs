//! A fault: the wall clock of one process jumps, and later jumps back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Part, World};
use crate::WallClock;

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
