//! Injects a fault, and repairs it afterwards.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{Fault, LinkFault, MisbehavingClients, World, clock, crowd, misbehaving, postgres, shard};
use crate::proxy::LinkConditions;
use crate::redis::partition_of;
use crate::stack::Link;

/// Time between the kill of a process and its restart.
const DOWNTIME: Duration = Duration::from_millis(500);
const SLOW_LINK_DELAY: Duration = Duration::from_millis(250);

pub(super) async fn inject_and_repair(
    world: &World,
    misbehaving: &Arc<MisbehavingClients>,
    rooms: &[String],
    fault: &Fault,
) -> Result<()> {
    let stack = &world.stack;
    let server = stack.database().server();
    match *fault {
        Fault::Nothing(time) => {
            sleep(time).await;
            Ok(())
        }
        Fault::KillGateway(number) => {
            stack.gateway(number).kill();
            sleep(DOWNTIME).await;
            stack.gateway(number).restart().await
        }
        Fault::PauseGateway(number, time) => {
            stack.gateway(number).pause()?;
            sleep(time).await;
            stack.gateway(number).resume()
        }
        Fault::KillPersistence(number) => {
            stack.persistence(number).kill();
            sleep(DOWNTIME).await;
            stack.persistence(number).restart().await
        }
        Fault::PausePersistence(number, time) => {
            stack.persistence(number).pause()?;
            sleep(time).await;
            stack.persistence(number).resume()
        }
        Fault::KillRedis => {
            world.redis()?.kill();
            sleep(DOWNTIME).await;
            world.redis()?.restart().await
        }
        Fault::TruncateRedis(bytes) => world.redis()?.restart_truncated(bytes).await,
        Fault::EmptyRedis => world.redis()?.restart_empty().await,
        Fault::PauseRedis(time) => {
            world.redis()?.pause()?;
            sleep(time).await;
            world.redis()?.resume()
        }
        Fault::FailOver(lag) => world.fail_over(lag).await,
        Fault::SplitBrain(time) => world.split_brain(time).await,
        Fault::Shard(room, fault) => {
            shard::inject_and_repair(world.cluster()?, partition_of(&rooms[room]), fault).await
        }
        Fault::KillPostgres => {
            server.kill();
            sleep(DOWNTIME).await;
            server.restart().await
        }
        Fault::PausePostgres(time) => {
            server.pause()?;
            sleep(time).await;
            server.resume()
        }
        Fault::ReadOnlyPostgres(time) => postgres::make_read_only(stack.database(), time).await,
        Fault::FullPostgres(time) => postgres::fail_writes(stack.database(), time).await,
        Fault::CrowdedPostgres(time) => crowd::take_all_connections(stack.database(), time).await,
        Fault::LockedPostgres(time) => postgres::lock_messages(stack.database(), time).await,
        Fault::Link(link, fault, time) => inject_link_fault(world, link, fault, time).await,
        Fault::Vanish(many) => misbehaving::abandon_connections(world, misbehaving, many).await,
        Fault::Stall(time) => misbehaving::stall_clients(world, misbehaving, time).await,
        Fault::Flood(time) => misbehaving::flood_small_frames(world, misbehaving, time).await,
        Fault::Noisy(noise, time) => misbehaving::start_noise(world, misbehaving, noise, time),
        Fault::Clock(part, seconds, time) => clock::shift_clock(world, part, seconds, time).await,
        Fault::Storm => {
            for proxy in &stack.links().clients_gateways {
                proxy.cut();
            }
            Ok(())
        }
    }
}

async fn inject_link_fault(world: &World, link: Link, fault: LinkFault, time: Duration) -> Result<()> {
    let proxy = world.stack.links().proxy(link).with_context(|| format!("there is no {link:?}"))?;
    let conditions = match fault {
        LinkFault::Cut => {
            proxy.cut();
            return Ok(());
        }
        LinkFault::Reset => {
            proxy.reset();
            return Ok(());
        }
        LinkFault::HalfOpen => {
            proxy.half_open();
            return Ok(());
        }
        LinkFault::BlackHole => LinkConditions::BLACK_HOLE,
        LinkFault::OneWayUp => LinkConditions { holds_up: true, ..LinkConditions::default() },
        LinkFault::OneWayDown | LinkFault::AnswersLost => {
            LinkConditions { holds_down: true, ..LinkConditions::default() }
        }
        LinkFault::Slow => LinkConditions { delay: SLOW_LINK_DELAY, ..LinkConditions::default() },
        LinkFault::Refused => {
            proxy.cut();
            LinkConditions { refuses: true, ..LinkConditions::default() }
        }
    };
    proxy.set(conditions);
    sleep(time).await;
    if fault == LinkFault::AnswersLost {
        proxy.cut();
    }
    proxy.heal();
    Ok(())
}
