//! Clients that stop reading while much is said to them: what the people say, answers to what they asked themselves, and
//! signals, which are large and stored nowhere. A gateway may hold a bounded part of it for them, and not more.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{GIVERS, Strangers};
use crate::Client;
use crate::faults::World;
use crate::raw::opcode;

/// At each gateway.
const STALLED: usize = 4;
/// As little as the kernel grants; it holds some more for each side of a connection.
const BUFFER_BYTES: u32 = 4096;
/// Asked before they stall, and answered when they do not read any more.
const PINGS: usize = 100;
/// A little less than a signal may be.
const SIGNAL_BYTES: usize = 15 * 1024;
/// A little more often than the limit allows.
const PACE: Duration = Duration::from_millis(45);

pub(in crate::faults) async fn stall(world: &World, strangers: &Strangers, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let mut stalled = Vec::new();
    for gateway in world.stack.gateways() {
        for _ in 0..STALLED {
            let Ok(mut socket) = strangers.enter(gateway.ports().public, Some(BUFFER_BYTES)).await else {
                strangers.note("not let in");
                continue;
            };
            for number in 0..PINGS {
                let ping = json!({ "type": "ping", "ref": format!("{number:032}") }).to_string();
                // Whoever was closed meanwhile reads nothing either.
                let _ = socket.send(opcode::TEXT, ping.as_bytes()).await;
            }
            strangers.note("stalled");
            stalled.push(socket);
        }
    }
    let giving = (0..GIVERS.len()).map(|number| give(world, strangers, number, end));
    futures_util::future::join_all(giving).await;
    sleep_until(end).await;
    Ok(())
}

/// Says much to all in the strangers' room.
async fn give(world: &World, strangers: &Strangers, number: usize, end: Instant) {
    let gateway = world.stack.gateway(number % world.stack.gateways().len());
    let signal = json!({ "type": "signal", "room": strangers.own, "data": "x".repeat(SIGNAL_BYTES) });
    let mut tick = interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tick.tick().await;
        let Ok(client) = Client::connect(&gateway.ws(), &strangers.token(GIVERS[number])).await else {
            continue;
        };
        while Instant::now() < end && client.send_json(&signal).await.is_ok() {
            strangers.note("given");
            tick.tick().await;
        }
    }
}
