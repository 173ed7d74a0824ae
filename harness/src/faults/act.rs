//! Carries a fault out, and mends what it broke.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{Fault, LinkFault, Strangers, World, clock, crowd, postgres, strangers};
use crate::proxy::Weather;
use crate::stack::Link;

/// Dead for so long before a new start.
const DEAD: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_millis(250);

pub(super) async fn act(world: &World, strangers: &Arc<Strangers>, fault: &Fault) -> Result<()> {
    let stack = &world.stack;
    let server = stack.database().server();
    match *fault {
        Fault::Nothing(time) => {
            sleep(time).await;
            Ok(())
        }
        Fault::KillGateway(number) => {
            stack.gateway(number).kill();
            sleep(DEAD).await;
            stack.gateway(number).restart().await
        }
        Fault::PauseGateway(number, time) => {
            stack.gateway(number).pause()?;
            sleep(time).await;
            stack.gateway(number).resume()
        }
        Fault::KillPersistence(number) => {
            stack.persistence(number).kill();
            sleep(DEAD).await;
            stack.persistence(number).restart().await
        }
        Fault::PausePersistence(number, time) => {
            stack.persistence(number).pause()?;
            sleep(time).await;
            stack.persistence(number).resume()
        }
        Fault::KillRedis => {
            world.redis().kill();
            sleep(DEAD).await;
            world.redis().restart().await
        }
        Fault::TruncateRedis(bytes) => world.redis().restart_truncated(bytes).await,
        Fault::EmptyRedis => world.redis().restart_empty().await,
        Fault::PauseRedis(time) => {
            world.redis().pause()?;
            sleep(time).await;
            world.redis().resume()
        }
        Fault::FailOver(lag) => world.fail_over(lag).await,
        Fault::SplitBrain(time) => world.split_brain(time).await,
        Fault::KillPostgres => {
            server.kill();
            sleep(DEAD).await;
            server.restart().await
        }
        Fault::PausePostgres(time) => {
            server.pause()?;
            sleep(time).await;
            server.resume()
        }
        Fault::ReadOnlyPostgres(time) => postgres::read_only(stack.database(), time).await,
        Fault::FullPostgres(time) => postgres::full(stack.database(), time).await,
        Fault::CrowdedPostgres(time) => crowd::crowded(stack.database(), time).await,
        Fault::LockedPostgres(time) => postgres::locked(stack.database(), time).await,
        Fault::Link(link, fault, time) => between(world, link, fault, time).await,
        Fault::Vanish(many) => strangers::vanish(world, strangers, many).await,
        Fault::Stall(time) => strangers::stall(world, strangers, time).await,
        Fault::Flood(time) => strangers::flood(world, strangers, time).await,
        Fault::Clock(part, seconds, time) => clock::jump(world, part, seconds, time).await,
        Fault::Storm => {
            for proxy in &stack.links().clients_gateways {
                proxy.cut();
            }
            Ok(())
        }
    }
}

async fn between(world: &World, link: Link, fault: LinkFault, time: Duration) -> Result<()> {
    let proxy = world.stack.links().proxy(link).with_context(|| format!("there is no {link:?}"))?;
    let weather = match fault {
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
        LinkFault::BlackHole => Weather::BLACK_HOLE,
        LinkFault::OneWayUp => Weather { holds_up: true, ..Weather::default() },
        LinkFault::OneWayDown => Weather { holds_down: true, ..Weather::default() },
        LinkFault::Slow => Weather { delay: SLOW, ..Weather::default() },
        LinkFault::Refused => {
            proxy.cut();
            Weather { refuses: true, ..Weather::default() }
        }
    };
    proxy.set(weather);
    sleep(time).await;
    proxy.heal();
    Ok(())
}
