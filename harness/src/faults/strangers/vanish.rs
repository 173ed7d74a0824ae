//! Clients that are gone without a word: their end of the connection is lost in the network, or reset; some in the
//! middle of a frame.

use std::time::Duration;

use anyhow::Result;

use super::Strangers;
use crate::faults::World;
use crate::proxy::{Proxy, Weather};
use crate::raw::{frame, opcode};

/// What was sent before is under way no longer.
const ARRIVED: Duration = Duration::from_millis(200);

/// So many, over all gateways; every third is reset, the others are lost. Half of them say half a frame before.
pub(in crate::faults) async fn vanish(world: &World, strangers: &Strangers, many: usize) -> Result<()> {
    let gateways = world.stack.gateways();
    let mut holes = Vec::with_capacity(gateways.len());
    for gateway in gateways {
        holes.push(Proxy::start(gateway.ports().public).await?);
    }
    let (mut lost, mut reset) = (Vec::new(), Vec::new());
    let ping = frame(0x80 | opcode::TEXT, br#"{"type":"ping"}"#, Some(rand::random()));
    for number in 0..many {
        let gateway = number % gateways.len();
        let is_reset = number % 3 == 0;
        let port = if is_reset { gateways[gateway].ports().public } else { holes[gateway].port() };
        let mut socket = match strangers.enter(port, None).await {
            Ok(socket) => socket,
            // The system may still be busy with what was broken before.
            Err(_) => {
                strangers.note("not let in");
                continue;
            }
        };
        if number % 4 < 2 {
            // Whoever was closed meanwhile is gone as well.
            let _ = socket.send_bytes(&ping[..ping.len() / 2]).await;
        }
        if is_reset { reset.push(socket) } else { lost.push(socket) }
    }
    tokio::time::sleep(ARRIVED).await;
    holes.iter().for_each(|hole| hole.set(Weather::BLACK_HOLE));
    lost.iter().for_each(|_| strangers.note("vanished"));
    for socket in reset {
        socket.reset();
        strangers.note("reset");
    }
    drop(lost);
    holes.into_iter().for_each(|hole| strangers.keep(hole));
    Ok(())
}
