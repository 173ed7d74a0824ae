//! Clients that stop reading while much is sent to them: messages of the users, answers to their own commands, and
//! signals, which are large and not stored. A gateway may only buffer a bounded part for them.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{GIVERS, MisbehavingClients};
use crate::Client;
use crate::faults::World;
use crate::raw::opcode;

/// Number of stalled clients per gateway.
const STALLED: usize = 4;
/// The smallest buffer that the kernel allows; it buffers a little more for each side of a connection.
const BUFFER_BYTES: u32 = 4096;
/// Pings that are sent before a client stalls, so that the answers come when it does not read any more.
const PINGS: usize = 100;
/// A little below the limit of a signal.
const SIGNAL_BYTES: usize = 15 * 1024;
/// A little faster than the rate limit.
const PACE: Duration = Duration::from_millis(45);

pub(in crate::faults) async fn stall(
    world: &World,
    misbehaving: &MisbehavingClients,
    time: Duration,
) -> Result<()> {
    let end = Instant::now() + time;
    let mut stalled = Vec::new();
    for gateway in world.stack.gateways() {
        for _ in 0..STALLED {
            let Ok(mut socket) = misbehaving.enter(gateway.ports().public, Some(BUFFER_BYTES)).await else {
                misbehaving.note("not let in");
                continue;
            };
            for number in 0..PINGS {
                let ping = json!({ "type": "ping", "ref": format!("{number:032}") }).to_string();
                // This fails if the server has closed the connection, which does not matter here.
                let _ = socket.send(opcode::TEXT, ping.as_bytes()).await;
            }
            misbehaving.note("stalled");
            stalled.push(socket);
        }
    }
    let giving = (0..GIVERS.len()).map(|number| give(world, misbehaving, number, end));
    futures_util::future::join_all(giving).await;
    sleep_until(end).await;
    Ok(())
}

/// Sends much to all in the room of these clients.
async fn give(world: &World, misbehaving: &MisbehavingClients, number: usize, end: Instant) {
    let gateway = world.stack.gateway(number % world.stack.gateways().len());
    let signal = json!({ "type": "signal", "room": misbehaving.own, "data": "x".repeat(SIGNAL_BYTES) });
    let mut tick = interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tick.tick().await;
        let Ok(client) = Client::connect(&gateway.ws(), &misbehaving.token(GIVERS[number])).await else {
            continue;
        };
        while Instant::now() < end && client.send_json(&signal).await.is_ok() {
            misbehaving.note("given");
            tick.tick().await;
        }
    }
}
