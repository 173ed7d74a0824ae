//! The rules of epochs: which data of an earlier epoch are used, and which cursors are valid. The rules about Redis
//! processes are in `rules_processes`.

use anyhow::{Result, ensure};
use tidings_harness::{Cursor, ServerFrame};

use crate::processes::{redirect_gateways_to, redirect_persistence_to, start_promoted_replica};
use crate::replay::{BrokenPromise, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, small_stack};

/// Another Redis process takes over and accepts writes. Then the first process is used again.
async fn replay_first_process_is_used_again(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let second = start_promoted_replica(&system.stack).await?;
    for (redis, id) in [(&second, "b"), (system.stack.redis(), "c")] {
        redirect_gateways_to(&system.stack, redis);
        redirect_persistence_to(&system.stack, redis);
        let broken = system.check_stored(id).await?;
        if broken.is_some() {
            return Ok(broken);
        }
    }
    Ok(None)
}

#[tokio::test]
async fn process_that_is_used_again_gets_a_new_epoch() -> Result<()> {
    let rule = "= ANY (partitions) ORDER BY epoch DESC LIMIT 1";
    let removal = Removal::Text(rule, "= ANY (partitions) ORDER BY epoch LIMIT 1");
    ensure_needed(&[removal], small_stack().proxied(), replay_first_process_is_used_again).await
}

/// Epoch 2 still has a message that epoch 3 lost. A receiver comes back with a cursor of epoch 1.
async fn replay_cursor_skips_an_epoch(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    let lost = system.send_until_accepted("a").await?;
    system.stack.redis().restart().await?;
    system.until_seeded(2).await?;
    system.stack.redis().restart_empty().await?;
    system.until_seeded(3).await?;
    let other = system.send_until_accepted("b").await?;
    ensure!((lost.seq, other.seq) == (1, 1), "{lost:?} {other:?}");
    let bob = system.connect_and_join("bob", Some(&Cursor { epoch: lost.epoch, seq: 1 })).await?;
    let frame = bob.next_of_log(WAIT_TIMEOUT).await?;
    let is_gap = matches!(&frame, ServerFrame::Gap(gap) if gap.after == 0);
    Ok((!is_gap).then(|| format!("bob keeps the lost message: {frame:?}")))
}

#[tokio::test]
async fn cursor_is_limited_by_every_later_base() -> Result<()> {
    let removal = Removal::Named("cursor is limited by every later base");
    ensure_needed(&[removal], small_stack(), replay_cursor_skips_an_epoch).await
}

/// Redis goes back to the time before a stored message. The next message is sent before anybody asks for a seed.
async fn replay_message_comes_before_the_seed(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let image = system.stack.redis().image()?;
    let stored = system.send_until_stored("b").await?;
    system.restart_redis_from(&image).await?;
    let next = system.send_until_accepted("c").await?;
    if next.seq <= stored.seq {
        return Ok(Some(format!("seq {} is given twice, in epoch {}", next.seq, next.epoch)));
    }
    system.check_stored("c").await
}

#[tokio::test]
async fn text_of_a_script_holds_its_epoch() -> Result<()> {
    let removal = Removal::Named("the text of a script holds its epoch");
    ensure_needed(&[removal], small_stack(), replay_message_comes_before_the_seed).await
}
