//! Clients that disappear without a close: their connection is lost in the network, or reset; some in the middle of a
//! frame.

use std::time::Duration;

use anyhow::Result;

use super::MisbehavingClients;
use crate::faults::World;
use crate::proxy::{LinkConditions, Proxy};
use crate::raw::{frame, opcode};

/// How long to wait until sent bytes have arrived.
const ARRIVED: Duration = Duration::from_millis(200);

/// Makes this many clients disappear, over all gateways. Every third is reset, the others are lost; half of them send
/// half a frame before.
pub(in crate::faults) async fn vanish(
    world: &World,
    misbehaving: &MisbehavingClients,
    many: usize,
) -> Result<()> {
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
        let mut socket = match misbehaving.enter(port, None).await {
            Ok(socket) => socket,
            // The system may still recover from the previous fault.
            Err(_) => {
                misbehaving.note("not let in");
                continue;
            }
        };
        if number % 4 < 2 {
            // This fails if the server has closed the connection, which does not matter here.
            let _ = socket.send_bytes(&ping[..ping.len() / 2]).await;
        }
        if is_reset { reset.push(socket) } else { lost.push(socket) }
    }
    tokio::time::sleep(ARRIVED).await;
    holes.iter().for_each(|hole| hole.set(LinkConditions::BLACK_HOLE));
    lost.iter().for_each(|_| misbehaving.note("vanished"));
    for socket in reset {
        socket.reset();
        misbehaving.note("reset");
    }
    drop(lost);
    holes.into_iter().for_each(|hole| misbehaving.keep(hole));
    Ok(())
}
