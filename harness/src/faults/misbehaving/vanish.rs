//! Clients that disappear without a close frame: the network loses their connection or resets it. Some disappear in the
//! middle of a frame.

use std::time::Duration;

use anyhow::Result;

use super::MisbehavingClients;
use crate::faults::World;
use crate::proxy::{LinkConditions, Proxy};
use crate::raw::{frame, opcode};

/// Wait until the sent bytes have arrived.
const ARRIVAL_TIME: Duration = Duration::from_millis(200);

/// Connects this many clients, spread over all gateways, and makes them disappear. Every third connection is reset, the
/// others are lost. Before that, half of all clients send half a frame.
pub(in crate::faults) async fn abandon_connections(
    world: &World,
    misbehaving: &MisbehavingClients,
    count: usize,
) -> Result<()> {
    let gateways = world.stack.gateways();
    let mut black_holes = Vec::with_capacity(gateways.len());
    for gateway in gateways {
        black_holes.push(Proxy::start(gateway.ports().public).await?);
    }
    let (mut lost, mut reset) = (Vec::new(), Vec::new());
    let ping = frame(0x80 | opcode::TEXT, br#"{"type":"ping"}"#, Some(rand::random()));
    for number in 0..count {
        let gateway = number % gateways.len();
        let is_reset = number % 3 == 0;
        let port = if is_reset { gateways[gateway].ports().public } else { black_holes[gateway].port() };
        let mut socket = match misbehaving.connect_ghost(port, None).await {
            Ok(socket) => socket,
            // The system may still recover from the previous fault.
            Err(_) => {
                misbehaving.count("not let in");
                continue;
            }
        };
        if number % 4 < 2 {
            // This fails if the server has closed the connection, which does not matter here.
            let _ = socket.send_bytes(&ping[..ping.len() / 2]).await;
        }
        if is_reset { reset.push(socket) } else { lost.push(socket) }
    }
    tokio::time::sleep(ARRIVAL_TIME).await;
    black_holes.iter().for_each(|proxy| proxy.set(LinkConditions::BLACK_HOLE));
    lost.iter().for_each(|_| misbehaving.count("vanished"));
    for socket in reset {
        socket.reset();
        misbehaving.count("reset");
    }
    drop(lost);
    black_holes.into_iter().for_each(|proxy| misbehaving.keep_open(proxy));
    Ok(())
}
