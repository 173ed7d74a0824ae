//! Clients that do not read while the server sends much to them: messages of the users, answers to their own commands,
//! and signals, which are large and not stored. A gateway may buffer only a limited amount for such clients.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{MisbehavingClients, SIGNAL_SENDERS};
use crate::Client;
use crate::faults::World;
use crate::raw::opcode;

/// Number of stalled clients per gateway.
const STALLED_PER_GATEWAY: usize = 4;
/// Size of the receive buffer. The kernel allows nothing much smaller.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Number of pings that a client sends before it stalls. Their answers come when the client does not read any more.
const PINGS: usize = 100;
/// Size of a signal: a little below the limit.
const SIGNAL_BYTES: usize = 15 * 1024;
/// Pause between two signals: a little shorter than the rate limit allows.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(45);

pub(in crate::faults) async fn stall_clients(
    world: &World,
    misbehaving: &MisbehavingClients,
    time: Duration,
) -> Result<()> {
    let end = Instant::now() + time;
    let mut stalled = Vec::new();
    for gateway in world.stack.gateways() {
        for _ in 0..STALLED_PER_GATEWAY {
            let Ok(mut socket) =
                misbehaving.connect_ghost(gateway.ports().public, Some(RECEIVE_BUFFER_BYTES)).await
            else {
                misbehaving.count("not let in");
                continue;
            };
            for number in 0..PINGS {
                let ping = json!({ "type": "ping", "ref": format!("{number:032}") }).to_string();
                // This fails if the server has closed the connection, which does not matter here.
                let _ = socket.send(opcode::TEXT, ping.as_bytes()).await;
            }
            misbehaving.count("stalled");
            stalled.push(socket);
        }
    }
    let giving = (0..SIGNAL_SENDERS.len()).map(|number| send_signals(world, misbehaving, number, end));
    futures_util::future::join_all(giving).await;
    sleep_until(end).await;
    Ok(())
}

/// Sends signals to the room of the stalled clients until `end`, and reconnects when the connection ends.
async fn send_signals(world: &World, misbehaving: &MisbehavingClients, number: usize, end: Instant) {
    let gateway = world.stack.gateway(number % world.stack.gateways().len());
    let signal = json!({ "type": "signal", "room": misbehaving.own, "data": "x".repeat(SIGNAL_BYTES) });
    let mut tick = interval(SIGNAL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tick.tick().await;
        let Ok(client) = Client::connect(&gateway.ws(), &misbehaving.token(SIGNAL_SENDERS[number])).await
        else {
            continue;
        };
        while Instant::now() < end && client.send_json(&signal).await.is_ok() {
            misbehaving.count("given");
            tick.tick().await;
        }
    }
}
