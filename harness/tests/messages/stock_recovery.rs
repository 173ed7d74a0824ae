//! Stock Socket.IO clients recover lost connections on any gateway: nothing is missing, doubled or out of order, and
//! the application does nothing for it.

use std::time::Duration;

use crate::stock_clients::{POLLING, UPGRADE, WEBSOCKET, run_script};
use anyhow::{Context, Result, ensure};
use rstest::rstest;
use serde_json::json;
use tidings_harness::Stack;
use tokio::time::timeout;

/// Messages per room and cut.
const MESSAGE_COUNT: usize = 8;
/// More messages than a room can replay.
const TAIL_COUNT: usize = 300;
/// How often the script cuts the connection while messages come.
const CUTS: usize = 6;
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);

#[rstest]
#[case(WEBSOCKET, false)]
#[case(WEBSOCKET, true)]
#[case(POLLING, false)]
#[case(UPGRADE, true)]
#[tokio::test]
async fn stock_client_recovers_on_other_gateways(
    #[case] transports: &[&str],
    #[case] joins_at_connect: bool,
) -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack
        .gateway_env("TIDINGS_SOCKET_IO_RECOVERY", "on")
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await?;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(stack.http("ann").new_room(&["ben"]).await?);
    }
    let options = json!({
        "version": "4.8", "transports": transports, "rooms": rooms, "joinsAtConnect": joins_at_connect,
        "urls": [stack.gateway(0).url(), stack.gateway(1).url()],
        "tokens": [stack.token("ann"), stack.token("ben")], "count": MESSAGE_COUNT, "tail": TAIL_COUNT,
    });
    let counts = timeout(SCRIPT_TIMEOUT, run_script("recover.mjs", &options)).await.context("no end")??;
    let common = CUTS * MESSAGE_COUNT;
    // The script leaves the first room before the last two messages.
    ensure!(counts == json!([common, common + 2, common + 2]), "{counts}");
    Ok(())
}
